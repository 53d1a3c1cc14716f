package extproc

import (
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/openai"
	"github.com/shunt-gateway/shunt/policy"
)

// Outcome is what became of one question of Envoy's, for those who watch. It holds
// no prompt and no key. What is not known is zero.
type Outcome struct {
	Phase        Phase
	Began, Ended time.Time // the stream's first message was awaited; the answer was sent

	RequestID string
	API       catalog.API
	Stream    bool             // the answer was asked for as a stream
	Snapshot  *policy.Snapshot // what was decided by; nil: it did not come to that
	// Decision is there for a request that was admitted, and for one that no offer
	// could serve.
	Decision *policy.Decision
	Refusal  *policy.Error // nil: admitted
	Cause    error         // of a refusal that is not the client's doing
}

// Phase says what was asked.
type Phase uint8

// The phases.
const (
	PhaseDecide Phase = iota // where a request is to go
	PhaseRetry               // how the next attempt's request looks
	PhaseShed                // nothing was looked at: too many were in flight
)

// String returns the name that metrics use.
func (p Phase) String() string { return [...]string{"decide", "retry", "shed"}[p] }

func (s *requestSession) outcome() *Outcome { return &s.seen }
func (s *retrySession) outcome() *Outcome   { return &Outcome{Phase: PhaseRetry} }
func (shedSession) outcome() *Outcome       { return &Outcome{Phase: PhaseShed, Refusal: errShed} }

var errShed = &policy.Error{Status: 503, Code: openai.CodeOverloaded, Message: "too many requests are being decided; try again"}
