package health

import "time"

// Event is an attempt that started or ended. An end ends one start: whoever reports
// ends alone has no count of attempts in flight, and whoever reports starts has to
// report an end of each, be it Unknown, with the same Started. Times and durations that are not known
// are zero.
type Event struct {
	Offer   int       // Offer.Index; one that the table does not have is ignored
	Outcome Outcome   // Started, or how it ended
	Started time.Time // when the attempt began, also of one that ended; zero: now

	// Of one that ended:
	Status     int           // the provider's HTTP status; 0: it sent none
	RetryAfter time.Duration // what a 429 or 503 asked for; 0: nothing
	Duration   time.Duration // from the start to the last byte
	TTFT       time.Duration // from the start to the first byte of the answer
	Tokens     int64         // completion tokens
	Stream     bool          // the answer was asked for as a stream
}

// Outcome is what became of an attempt.
type Outcome uint8

// The outcomes.
const (
	Unknown        Outcome = iota // it ended with the client, before it had an outcome
	Started                       // it began
	OK                            // answered with 2xx, to its end
	Status                        // answered with another status
	Timeout                       // no first byte, or no next one, in time
	Reset                         // broken off, before or in the answer
	ConnectFailure                // never reached
)

var outcomes = map[string]Outcome{
	"ok": OK, "status": Status, "timeout": Timeout, "reset": Reset, "connect_failure": ConnectFailure,
}

// OutcomeOf returns the outcome that a billing event calls name; Unknown for others.
func OutcomeOf(name string) Outcome { return outcomes[name] }

// Class says what an attempt's end means for its offer.
type Class uint8

// The classes. Server to Connect are failures.
const (
	Succeeded Class = iota
	Client          // the client's fault, which says nothing of the offer
	Limited         // 429
	Refused         // 401, 402, 403: the provider's key or credit
	NotFound        // 404: the provider's model
	Server          // 5xx
	Slow            // no byte in time, or 408
	Broken          // broken off
	Connect         // never reached
	Classes         // how many there are
)

// String returns the name that metrics use.
func (c Class) String() string {
	return [...]string{"ok", "client", "rate_limited", "refused", "not_found", "server", "timeout", "reset", "connect_failure"}[c]
}

func (c Class) failure() bool { return c >= Server }

// ClassOf sorts how an attempt ended; ok is false if its end means nothing. status
// is the provider's.
func ClassOf(o Outcome, status int) (c Class, ok bool) {
	return classOf(&Event{Outcome: o, Status: status})
}

// classOf sorts an ended attempt; ok is false if its end means nothing.
func classOf(ev *Event) (c Class, ok bool) {
	switch ev.Outcome {
	case OK:
		return Succeeded, true
	case Timeout:
		return Slow, true
	case Reset:
		return Broken, true
	case ConnectFailure:
		return Connect, true
	case Status:
		return statusClass(ev.Status), true
	}
	return 0, false
}

// statusClass: what is not the provider's failure is the client's. It never counts
// against an offer: 400, 413, 422 and their like.
func statusClass(status int) Class {
	switch status {
	case 429:
		return Limited
	case 401, 402, 403:
		return Refused
	case 404:
		return NotFound
	case 408:
		return Slow
	}
	if status >= 500 {
		return Server
	}
	return Client
}

// reach is what an end says of the way to the provider: 1 that it is there, -1 that
// nothing came back, 0 neither.
func reach(ev *Event, c Class) int {
	switch {
	case c == Connect, c == Slow && ev.Status == 0:
		return -1
	case ev.Status != 0, c == Succeeded:
		return 1
	}
	return 0
}
