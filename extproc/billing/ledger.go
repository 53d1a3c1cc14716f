package billing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// ErrRefused is wrapped by the error of a Deliver that will never work for this
// event: it goes to the dead letters without another try.
var ErrRefused = errors.New("billing: sink refuses the event")

// ErrClosed is what Deliver answers after Close.
var ErrClosed = errors.New("billing: sink is closed")

// DefaultWindow is how many ids a Ledger remembers: an hour at 18 requests a
// second, and about 10 MB.
const DefaultWindow = 65_536

// Ledger settles requests and hands each one's event, once, to every sink.
type Ledger struct {
	log   *slog.Logger
	seen  *Window
	sinks []Sink
}

// NewLedger returns a Ledger that delivers to sinks in this order.
func NewLedger(log *slog.Logger, sinks ...Sink) *Ledger {
	return &Ledger{log: log, seen: NewWindow(DefaultWindow), sinks: sinks}
}

// Settle makes the request's event and delivers it. A request whose id was settled
// before is passed over (BILL-1: delivering it twice does not bill twice). An error
// means that a sink did not take the event; it is logged here, and the same request
// may be settled again.
func (l *Ledger) Settle(ctx context.Context, q *Quote, r *Record) error {
	if !l.seen.Add(q.ID) {
		l.log.Warn("billing: request settled before; its second report is passed over", "id", q.ID)
		return nil
	}
	e := Settle(q, r)
	if e.Data.Price == nil && e.Data.Usage.Source != None {
		l.log.Warn("billing: price unknown; charged 0", "id", q.ID, "model", string(e.Data.Model), "provider", string(e.Data.Provider))
	}
	err := l.deliver(ctx, &e)
	if err != nil {
		l.seen.Remove(q.ID)
		l.log.Error("billing: event not delivered", "id", q.ID, "error", err)
	}
	return err
}

func (l *Ledger) deliver(ctx context.Context, e *Event) error {
	m, err := e.Message()
	if err != nil {
		return err
	}
	var errs []error
	for i, s := range l.sinks {
		if err := s.Deliver(ctx, m); err != nil {
			errs = append(errs, fmt.Errorf("sink %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

// Close closes every sink. Nothing may call Settle any more.
func (l *Ledger) Close(ctx context.Context) error {
	var errs []error
	for i, s := range l.sinks {
		if err := s.Close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("sink %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}
