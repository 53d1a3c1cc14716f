package billing

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Message is one event on its way to a sink: a CloudEvent's JSON, without a newline
// in it, and its id, for sinks that de-duplicate.
type Message struct {
	ID   string
	Body []byte
}

// Sink takes events to where they are kept. Its methods are safe for use by several
// goroutines.
type Sink interface {
	// Deliver hands m over. It blocks while the sink is behind: an event is never
	// dropped for lack of room. An error means that m was not taken; with nil the
	// sink writes m, or logs why it could not.
	Deliver(ctx context.Context, m Message) error
	// Close waits until all that was delivered is written, or ctx is done, and
	// says how many events were lost. Deliver fails from then on.
	Close(ctx context.Context) error
}

// Flusher is a Sink that keeps what was delivered to it in memory for a while.
// Flush returns nil when all that was delivered before is where it is kept: only
// then the outbox forgets it. A Sink that is no Flusher has kept it when Deliver
// returns nil.
type Flusher interface {
	Sink
	Flush(ctx context.Context) error
}

// Patient is a Sink that waits in Deliver while its receiver is away. It may be
// asked at any time.
type Patient interface {
	Sink
	// Outage is since when the receiver is away, zero while it is there, and how many
	// tries have met one since the sink was opened.
	Outage() (since time.Time, failures uint64)
}

// ErrRefused is wrapped by the error of a Deliver that will never work for this
// event: it goes to the dead letters without another try.
var ErrRefused = errors.New("billing: sink refuses the event")

// ErrClosed is what Deliver answers after Close.
var ErrClosed = errors.New("billing: sink is closed")

// DefaultWindow is how many ids of requests that are done with are remembered: an
// hour at 18 requests a second, and about 10 MB.
const DefaultWindow = 65_536

// Journal keeps the event of each request until every sink has it. admission.Book
// is one.
type Journal interface {
	// Finish makes event the request's, if it has none: the first is final, and first
	// says whether this one is it. An error means that it is not kept.
	Finish(id string, status Status, event []byte) (first bool, err error)
	// Known reports whether the request has its event.
	Known(id string) bool
}

// Ledger settles requests: it makes each one's event and puts it into the journal,
// once (BILL-1).
type Ledger struct {
	log       *slog.Logger
	journal   Journal
	estimator *Estimator
	settled   func(*Quote, *Record, *Data)
}

// NewLedger returns a Ledger that writes to j.
func NewLedger(log *slog.Logger, j Journal) *Ledger {
	return &Ledger{log: log, journal: j, estimator: NewEstimator()}
}

// OnSettled has f told of every request that gets its event here, once. r is what
// Envoy reported last of it, nil if it never did. f must not block. Call it before
// the first Settle.
func (l *Ledger) OnSettled(f func(q *Quote, r *Record, d *Data)) { l.settled = f }

// Settle makes the request's event out of what Envoy reported. A request that has
// its event is passed over, also where that event says unsettled: the first event is
// final. An error means that the event is not kept; it is logged here, and the same
// request may be settled again.
func (l *Ledger) Settle(_ context.Context, q *Quote, r *Record) error {
	if l.journal.Known(q.ID) {
		l.late(q.ID)
		return nil
	}
	e := l.estimator.Settle(q, r)
	if e.Data.Price == nil && e.Data.Usage.Source != None {
		l.log.Warn("billing: price unknown; charged 0", "request_id", q.ID, "model", string(e.Data.Model), "provider", string(e.Data.Provider))
	}
	return l.keep(&e, q, r)
}

// Unsettle makes the event of a request of which nothing more will be heard. last
// is the last that was; nil: nothing ever was.
func (l *Ledger) Unsettle(quote string, last *Record, at time.Time) error {
	q, err := ParseQuote(quote)
	if err != nil {
		l.log.Error("billing: an admitted request is not billed: its quote cannot be read", "error", err)
		return err
	}
	e := SettleUnknown(q, last, at)
	l.log.Warn("billing: nothing more was heard of a request; its event says unsettled", "request_id", q.ID, "model", string(e.Data.Model))
	return l.keep(&e, q, last)
}

func (l *Ledger) keep(e *Event, q *Quote, r *Record) error {
	m, err := e.Message()
	if err == nil {
		var first bool
		first, err = l.journal.Finish(e.ID, e.Data.Status, m.Body)
		switch {
		case err == nil && !first:
			l.late(e.ID)
		case err == nil && l.settled != nil:
			l.settled(q, r, &e.Data)
		}
	}
	if err != nil {
		l.log.Error("billing: event not kept", "request_id", e.ID, "error", err)
	}
	return err
}

func (l *Ledger) late(id string) {
	l.log.Warn("billing: request has its event; a later report of it is passed over", "request_id", id)
}
