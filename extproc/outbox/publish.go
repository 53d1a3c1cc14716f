package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/extproc/admission"
)

const (
	publishBatch = 256
	natsTimeout  = 5 * time.Second // of one exchange with NATS
	natsPause    = 2 * time.Second // longest between two tries
)

// publish brings events from the log into the stream until ctx ends.
func (b *Outbox) publish(ctx context.Context) {
	if len(b.workers) == 0 {
		b.discard(ctx)
		return
	}
	var p pause
	for ctx.Err() == nil {
		err := b.connect(ctx)
		if err == nil {
			p.reset()
			b.stats.connected.Store(true)
			b.started.Do(b.startWorkers)
			filling, stop := context.WithCancelCause(ctx)
			b.lost.Store(&stop)
			err = b.fill(filling)
			if cause := context.Cause(filling); cause != nil {
				err = cause
			}
			stop(nil)
			b.stats.connected.Store(false)
		}
		if ctx.Err() != nil {
			return
		}
		b.stats.failures.Add(1)
		b.opt.Log.Error("billing: events wait in the admission log; NATS does not take them", "error", err)
		p.wait(ctx, natsPause)
	}
}

func (b *Outbox) startWorkers() {
	for _, w := range b.workers {
		b.wg.Go(func() { w.run(b.run) })
	}
	b.wg.Go(func() { b.watchFloor(b.run) })
}

// connect makes sure of the streams and finds out which events are in them already.
func (b *Outbox) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	setup, stop := context.WithTimeout(ctx, natsTimeout)
	defer stop()
	if err := b.setup(setup); err != nil {
		return err
	}
	info, err := b.info(setup)
	if err != nil {
		return err
	}
	if highest, ok := b.opt.Book.Undelivered(); ok && info.State.LastSeq < highest {
		b.opt.Log.Error("billing: NATS has lost events; they are published again")
		b.opt.Book.Unpublished()
	}
	return b.reconcile(ctx)
}

func (b *Outbox) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	s, err := b.opt.JS.Stream(ctx, b.opt.stream())
	if err != nil {
		return nil, err
	}
	return s.Info(ctx)
}

// reconcile tells the log what the stream has of its events: after a crash the log
// does not know what it had published.
func (b *Outbox) reconcile(ctx context.Context) error {
	if b.opt.Book.Stats().Ready == 0 {
		return nil
	}
	c, err := b.opt.JS.OrderedConsumer(ctx, b.opt.stream(), jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{b.opt.subject()}, HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return fmt.Errorf("look into the stream: %w", err)
	}
	info, err := c.Info(ctx)
	if err != nil || info.NumPending == 0 {
		return err
	}
	messages, err := c.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("look into the stream: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		id := m.Headers().Get(jetstream.MsgIDHeader)
		b.opt.Book.Published(id, meta.Sequence.Stream)
		if b.unsure[id] {
			b.took(id)
		}
		if meta.NumPending == 0 {
			return nil
		}
	}
}

// fill publishes what is ready until something fails.
func (b *Outbox) fill(ctx context.Context) error {
	for {
		events, err := b.opt.Book.Ready(ctx, publishBatch)
		if len(events) == 0 {
			return err
		}
		if err := b.publishBatch(ctx, events); err != nil {
			return err
		}
	}
}

func (b *Outbox) publishBatch(ctx context.Context, events []admission.Event) error {
	acks := make([]jetstream.PubAckFuture, len(events))
	var errs []error
	for i, e := range events {
		m := &nats.Msg{Subject: b.opt.subject(), Data: e.Body}
		ack, err := b.opt.JS.PublishMsgAsync(m, jetstream.WithMsgID(e.ID))
		if err != nil {
			errs = append(errs, err)
			break
		}
		acks[i] = ack
	}
	limit := time.NewTimer(natsTimeout)
	defer limit.Stop()
	for i, ack := range acks {
		if ack == nil {
			break
		}
		select {
		case ok := <-ack.Ok():
			b.took(events[i].ID)
			if ok.Duplicate {
				b.stats.duplicates.Add(1)
			}
			b.opt.Book.Published(events[i].ID, ok.Sequence)
		case err := <-ack.Err():
			b.unsure[events[i].ID] = true
			errs = append(errs, err)
		case <-limit.C:
			b.doubt(events[i:])
			return errors.Join(append(errs, errors.New("no acknowledgement in time"))...)
		case <-ctx.Done():
			b.doubt(events[i:])
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}

// took counts an event that NATS has.
func (b *Outbox) took(id string) {
	b.stats.published.Add(1)
	delete(b.unsure, id)
}

// doubt takes note that NATS may have these: what it says next time decides.
func (b *Outbox) doubt(events []admission.Event) {
	for _, e := range events {
		b.unsure[e.ID] = true
	}
}

// discard is for a configuration without sinks.
func (b *Outbox) discard(ctx context.Context) {
	for {
		events, err := b.opt.Book.Ready(ctx, publishBatch)
		if ctx.Err() != nil {
			return
		}
		for _, e := range events {
			b.opt.Book.Published(e.ID, 0)
		}
		if err = errors.Join(err, b.opt.Book.Delivered(0)); err != nil {
			b.opt.Log.Error("billing: events without a sink", "error", err)
			var p pause
			p.wait(ctx, natsPause)
		}
	}
}
