package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

const (
	workerBatch = 256              // events that a sink has in hand at most
	ackWait     = 30 * time.Second // after that NATS offers an event again
	keepAlive   = 10 * time.Second // how often it is told that we are at it
	// A consumer that is gone is noticed after two heartbeats.
	pullExpiry, pullHeartbeat = 10 * time.Second, 2 * time.Second
	lately                    = 4096     // ids that a worker knows it has delivered
	group                     = "feeder" // of the instances that share a sink, one is it
)

// message is an event on its way to a sink.
type message interface {
	id() string
	body() []byte
	taken() error // the sink has it
	working()     // the sink may still take it
}

// streamed is an event from the stream.
type streamed struct{ jetstream.Msg }

func (m streamed) id() string   { return m.Headers().Get(jetstream.MsgIDHeader) }
func (m streamed) body() []byte { return m.Data() }
func (m streamed) taken() error { return m.Ack() }
func (m streamed) working()     { _ = m.InProgress() } // one that was missed comes again, and is known

// worker brings events to one sink.
type worker struct {
	opt     *Options
	sink    Sink
	durable string
	done    *billing.Window

	delivered, retries, dead, buried, backlog atomic.Uint64
	failing                                   atomic.Bool
	oldest                                    atomic.Pointer[waiting]
}

func newWorker(o *Options, s Sink) *worker {
	w := &worker{opt: o, sink: s, durable: "all-" + s.Name, done: billing.NewWindow(lately)}
	if s.Scope == Own {
		w.durable = o.Instance + "-" + s.Name
	}
	return w
}

func (w *worker) setup(ctx context.Context) error {
	c := jetstream.ConsumerConfig{
		Durable: w.durable, Description: "shunt: sink " + w.sink.Name,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxAckPending: workerBatch, MaxDeliver: -1,
		FilterSubject: w.filter(),
	}
	if w.sink.Scope == All {
		c.PriorityPolicy, c.PriorityGroups, c.PinnedTTL = jetstream.PriorityPolicyPinned, []string{group}, ackWait
	}
	if _, err := w.opt.JS.CreateOrUpdateConsumer(ctx, w.opt.stream(), c); err != nil {
		return fmt.Errorf("make the consumer %s: %w", w.durable, err)
	}
	return nil
}

// filter is the subject of the events that the sink gets.
func (w *worker) filter() string {
	if w.sink.Scope == All {
		return w.opt.subjects() + "*"
	}
	return w.opt.subject()
}

// run delivers until ctx ends.
func (w *worker) run(ctx context.Context) {
	var p pause
	for ctx.Err() == nil {
		if err := w.consume(ctx); err != nil && ctx.Err() == nil {
			w.opt.Log.Warn("billing: a sink is cut off from NATS", "sink", w.sink.Name, "error", err)
		}
		p.wait(ctx, natsPause)
	}
}

func (w *worker) consume(ctx context.Context) error {
	begin, cancel := context.WithTimeout(ctx, natsTimeout)
	defer cancel()
	if err := w.setup(begin); err != nil {
		return err
	}
	if w.sink.Scope == Own {
		// What an earlier process had in hand comes again at once and in order. A NATS
		// before 2.14 cannot; there it comes after ackWait.
		_, _ = w.opt.JS.ResetConsumer(begin, w.opt.stream(), w.durable)
	}
	c, err := w.opt.JS.Consumer(begin, w.opt.stream(), w.durable)
	if err != nil {
		return err
	}
	in := make(chan message, 4*workerBatch)
	opts := []jetstream.PullConsumeOpt{
		jetstream.PullMaxMessages(workerBatch), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat),
	}
	if w.sink.Scope == All {
		opts = append(opts, jetstream.PullPriorityGroup(group))
	}
	consuming, err := c.Consume(func(m jetstream.Msg) {
		select {
		case in <- streamed{m}:
		default: // it comes again
		}
	}, opts...)
	if err != nil {
		return err
	}
	defer consuming.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-consuming.Closed():
			return errors.New("the subscription ended")
		case m := <-in:
			batch := gather(m, in)
			stop := w.keepAlive(batch)
			w.deliver(ctx, batch)
			stop()
		}
	}
}

func gather(first message, in <-chan message) []message {
	batch := []message{first}
	for len(batch) < workerBatch {
		select {
		case m := <-in:
			batch = append(batch, m)
		default:
			return batch
		}
	}
	return batch
}

// deliver hands a batch to the sink, in order, and acknowledges what the sink keeps.
// When ctx ends first, the rest comes again after the next start.
func (w *worker) deliver(ctx context.Context, batch []message) {
	tried := w.together(ctx, batch)
	settled := make([]message, 0, len(batch))
	for i, m := range batch {
		if !w.done.Has(m.id()) && !w.one(ctx, m, tried[i]) {
			continue
		}
		settled = append(settled, m)
	}
	if f, ok := w.sink.Sink.(billing.Flusher); ok {
		var p pause
		for err := f.Flush(ctx); err != nil; err = f.Flush(ctx) {
			w.failed(batch[0].id(), err)
			if errors.Is(err, billing.ErrClosed) || !p.wait(ctx, longestPause) {
				return
			}
		}
	}
	for _, m := range settled {
		w.done.Add(m.id())
		if err := m.taken(); err != nil {
			w.opt.Log.Warn("billing: cannot acknowledge", "sink", w.sink.Name, "error", err)
		}
	}
}

// errUntried marks what has not been offered to the sink yet.
var errUntried = errors.New("not tried")

// together offers all new events of a batch to a sink that takes many at once, and
// returns what became of each.
func (w *worker) together(ctx context.Context, batch []message) []error {
	tried := make([]error, len(batch))
	var messages []billing.Message
	var places []int
	for i, m := range batch {
		tried[i] = errUntried
		if !w.done.Has(m.id()) {
			messages, places = append(messages, messageOf(m)), append(places, i)
		}
	}
	many, ok := w.sink.Sink.(billing.Batcher)
	if !ok || len(messages) < 2 {
		return tried
	}
	errs := many.DeliverAll(ctx, messages)
	for i, at := range places {
		tried[at] = nil
		if errs != nil {
			tried[at] = errs[i]
		}
	}
	return tried
}

// one hands an event to the sink until the sink has it, or to the dead letters. It
// is false if ctx ended first. tried is what came of a first try, if there was one.
func (w *worker) one(ctx context.Context, m message, tried error) bool {
	var p pause
	for tries, err := 1, tried; ; tries++ {
		if tries > 1 || errors.Is(err, errUntried) {
			err = w.sink.Deliver(ctx, messageOf(m))
		}
		if err == nil {
			w.delivered.Add(1)
			if w.failing.Swap(false) {
				w.opt.Log.Warn("billing: sink takes events again", "sink", w.sink.Name)
			}
			return true
		}
		if ctx.Err() != nil || errors.Is(err, billing.ErrClosed) {
			return false
		}
		w.failed(m.id(), err)
		if (tries >= w.opt.Tries || errors.Is(err, billing.ErrRefused)) && w.bury(ctx, m, tries, err) {
			return true
		}
		if !p.wait(ctx, longestPause) {
			return false
		}
	}
}

func messageOf(m message) billing.Message {
	return billing.Message{ID: m.id(), Body: m.body()}
}

func (w *worker) failed(id string, err error) {
	w.retries.Add(1)
	if !w.failing.Swap(true) {
		w.opt.Log.Error("billing: sink does not take an event; it is tried again", "sink", w.sink.Name, "request_id", id, "error", err)
	}
}

// keepAlive tells NATS that a batch is being worked at, until stop is called.
func (w *worker) keepAlive(batch []message) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(keepAlive)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				for _, m := range batch {
					m.working()
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}
