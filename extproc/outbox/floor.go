package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// floorEvery is how often the log is told what every sink has.
const floorEvery = 500 * time.Millisecond

func (b *Outbox) watchFloor(ctx context.Context) {
	tick := time.NewTicker(floorEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			b.raiseFloor(ctx)
		}
	}
}

// raiseFloor tells the log up to where every sink has everything, and takes that,
// and what the log gave up, out of the stream.
func (b *Outbox) raiseFloor(ctx context.Context) {
	highest, ok := b.opt.Book.Undelivered()
	if !ok || len(b.workers) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, natsTimeout)
	defer cancel()
	floor, err := b.floor(ctx, highest)
	if err == nil {
		err = b.opt.Book.Delivered(floor)
	}
	if err == nil {
		err = b.purge(ctx, max(floor, b.opt.Book.Dropped()))
	}
	if gone(err) {
		if stop := b.lost.Load(); stop != nil {
			(*stop)(err)
		}
		return
	}
	if err != nil && ctx.Err() == nil {
		b.opt.Log.Warn("billing: cannot tell what the sinks have", "error", err)
	}
}

// errLost: the stream does not reach as far as what was published to it.
var errLost = errors.New("NATS has lost events")

// gone reports that NATS is there and what was made in it is not.
func gone(err error) bool {
	return errors.Is(err, errLost) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound)
}

// floor is the sequence number up to which every sink has everything. highest was
// published before, so a consumer with nothing left has it.
func (b *Outbox) floor(ctx context.Context, highest uint64) (uint64, error) {
	info, err := b.info(ctx)
	if err != nil {
		return 0, err
	}
	if info.State.LastSeq < highest {
		return 0, errLost
	}
	floor := highest
	var errs []error
	for _, w := range b.workers {
		c, err := b.opt.JS.Consumer(ctx, b.opt.stream(), w.durable) // asks the server
		if err != nil {
			errs = append(errs, err)
			continue
		}
		info := c.CachedInfo()
		if err := w.look(ctx, info); err != nil {
			errs = append(errs, err)
		}
		if info.NumPending > 0 || info.NumAckPending > 0 {
			floor = min(floor, info.AckFloor.Stream)
		}
	}
	return floor, errors.Join(errs...)
}

func (b *Outbox) purge(ctx context.Context, upTo uint64) error {
	if upTo == 0 {
		return nil
	}
	s, err := b.opt.JS.Stream(ctx, b.opt.stream())
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(b.opt.subject()), jetstream.WithPurgeSequence(upTo+1))
}
