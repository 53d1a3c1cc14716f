package billing

import "time"

// Record is what Envoy reported when a request had ended, in no one's protocol.
type Record struct {
	Start    time.Time     // first byte of the request; zero: unknown
	Duration time.Duration // of the whole request
	TTFT     time.Duration // Start to the first byte of the answer; 0: there was none

	Status      int   // sent to the client; 0: none was
	AnswerBytes int64 // of the body, sent to the client

	AttemptCount int       // attempts made, as Envoy counted them
	Attempts     []Attempt // reported ones, in their order; some or all may be missing
	Provider     string    // slug of the last one asked; "": unknown
	// Last is what the request's own report says of its last attempt, for where
	// that attempt's report is missing. Its Provider is not used.
	Last Attempt

	End         End
	StreamError bool  // the answer was a 200 with an error in it
	NoFinish    bool  // the answer was read to its end, and named no finish reason
	Usage       Usage // as the provider reported it; unknown where it did not
}

// Answered reports whether a provider answered the request as it was asked: a 2xx
// answer whose end, if it was not reached, was not the provider's doing.
func (r *Record) Answered() bool {
	return r.success() && r.Provider != "" && r.End != EndCut && !r.StreamError
}

// success: the client was sent a 2xx status, so an answer began.
func (r *Record) success() bool { return r.Status >= 200 && r.Status <= 299 }

// End says how an answer came to its end.
type End uint8

// The ends.
const (
	EndClean      End = iota
	EndClientGone     // the client left, or let the answer run into a limit of ours
	EndCut            // the provider broke off
)

// Attempt is one try at one offer, as Envoy reported it.
type Attempt struct {
	Provider   string // slug; "": unknown
	Outcome    Outcome
	Status     int // the provider's; 0: it sent none
	Start      time.Time
	Duration   time.Duration
	TTFT       time.Duration // Start to the first byte of the answer; 0: there was none
	RetryAfter time.Duration // as the provider asked for it; 0: it did not
}

// Outcome is how an attempt ended; "" is unknown: the client left before it did.
type Outcome string

// The outcomes.
const (
	OutcomeOK             Outcome = "ok"              // answered with 2xx, to its end
	OutcomeStatus         Outcome = "status"          // answered with another status
	OutcomeTimeout        Outcome = "timeout"         // no first byte, or no next one, in time
	OutcomeReset          Outcome = "reset"           // broken off, before or in the answer
	OutcomeConnectFailure Outcome = "connect_failure" // never reached: refused, TLS, DNS, no room
)

// MarshalJSON writes the outcome, or null.
func (o Outcome) MarshalJSON() ([]byte, error) { return Text(o).MarshalJSON() }
