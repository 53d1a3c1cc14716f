package outbox

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"

	"github.com/shunt-gateway/shunt/extproc/admission"
)

// One sink that nobody shares needs no stream: the log itself keeps what it has not
// got, in order. Going over NATS took a third of shunt's CPU under load (make bench).

// direct reports whether events go from the log to the sink.
func (o *Options) direct() bool { return o.Alone && len(o.Sinks) == 1 }

// logged is an event straight from the log.
type logged struct {
	admission.Event
	book Book
	gone bool
}

func (m *logged) id() string   { return m.ID }
func (m *logged) body() []byte { return m.Body }
func (m *logged) working()     {}

// taken implements message. The log forgets a batch together.
func (m *logged) taken() error {
	m.book.Published(m.ID, 0)
	m.gone = true
	return nil
}

// deliverDirect brings events from the log to the only sink until ctx ends.
func (b *Outbox) deliverDirect(ctx context.Context) {
	var p pause
	for b.leaveStream(ctx) != nil {
		b.stats.failures.Add(1)
		if !p.wait(ctx, natsPause) {
			return
		}
	}
	b.stats.connected.Store(true)
	for p.reset(); ctx.Err() == nil; {
		events, err := b.opt.Book.Ready(ctx, workerBatch)
		b.trouble(ctx, err)
		if !b.hand(ctx, events) {
			p.wait(ctx, natsPause)
			continue
		}
		p.reset()
		for err := b.opt.Book.Delivered(0); err != nil; err = b.opt.Book.Delivered(0) {
			b.trouble(ctx, err)
			if !p.wait(ctx, natsPause) {
				return
			}
		}
	}
}

func (b *Outbox) trouble(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		b.opt.Log.Error("billing: events wait in the admission log", "error", err)
	}
}

// hand hands events to the sink and reports whether it took some.
func (b *Outbox) hand(ctx context.Context, events []admission.Event) (some bool) {
	if len(events) == 0 {
		return false
	}
	w := b.workers[0]
	w.oldest.Store(nil)
	if since := gjson.GetBytes(events[0].Body, "time").Time(); !since.IsZero() {
		w.oldest.Store(&waiting{since: since})
	}
	batch := make([]message, len(events))
	for i, e := range events {
		batch[i] = &logged{Event: e, book: b.opt.Book}
	}
	w.deliver(ctx, batch)
	for _, m := range batch {
		some = some || m.(*logged).gone
	}
	return some
}

// leaveStream makes the stream for dead letters, and takes back what an earlier
// process, which went over NATS, had in the stream of events: what its sink has not
// acknowledged is in the log, and goes to the sink from there.
func (b *Outbox) leaveStream(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, natsTimeout)
	defer cancel()
	err := b.makeDeadStream(ctx)
	if err == nil {
		err = b.emptyStream(ctx)
	}
	if err != nil && ctx.Err() == nil {
		b.opt.Log.Error("billing: events wait in the admission log; NATS does not answer", "error", err)
	}
	return err
}

func (b *Outbox) emptyStream(ctx context.Context) error {
	s, err := b.opt.JS.Stream(ctx, b.opt.stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err == nil {
		err = b.reconcile(ctx)
	}
	if err != nil {
		return err
	}
	if err := b.acknowledged(ctx, s); err != nil {
		return err
	}
	b.opt.Book.Unpublished()
	return b.opt.JS.DeleteStream(ctx, b.opt.stream())
}

// acknowledged tells the log what the sink acknowledged in the stream.
func (b *Outbox) acknowledged(ctx context.Context, s jetstream.Stream) error {
	c, err := s.Consumer(ctx, b.workers[0].durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return b.opt.Book.Delivered(c.CachedInfo().AckFloor.Stream)
}
