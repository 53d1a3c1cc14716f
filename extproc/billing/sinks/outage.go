package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// errOutage is wrapped by errors that say that the receiver is away, not that it
// dislikes an event.
var errOutage = errors.New("receiver is away")

// pauses are the bounds of waits between two tries.
type pauses struct{ first, longest time.Duration }

var usualPauses = pauses{first: 100 * time.Millisecond, longest: 30 * time.Second}

// remindEvery is how often the log is told of an outage that goes on.
const remindEvery = time.Minute

// outages waits for a sink's receiver while it is away, and knows since when it is.
type outages struct {
	log     *slog.Logger
	pauses  pauses
	closing chan struct{} // ends every wait
	once    sync.Once

	began    atomic.Int64 // Unix time in ns; 0: the receiver is there
	failures atomic.Uint64
}

func newOutages(log *slog.Logger) *outages {
	return &outages{log: log, pauses: usualPauses, closing: make(chan struct{})}
}

// Outage implements billing.Patient.
func (o *outages) Outage() (since time.Time, failures uint64) {
	if n := o.began.Load(); n != 0 {
		since = time.Unix(0, n)
	}
	return since, o.failures.Load()
}

// end wakes those who wait; they get billing.ErrClosed.
func (o *outages) end() { o.once.Do(func() { close(o.closing) }) }

// persist calls try until it has another outcome than an outage, or ctx or end ends
// the wait. least is how long to wait at least, if try knows.
func (o *outages) persist(ctx context.Context, try func() (least time.Duration, err error)) error {
	var told time.Time
	for failures, pause := 0, o.pauses.first; ; failures++ {
		select {
		case <-o.closing:
			return billing.ErrClosed
		default:
		}
		least, err := try()
		if !errors.Is(err, errOutage) {
			if ctx.Err() == nil {
				o.over(failures)
			}
			return err
		}
		o.failures.Add(1)
		o.began.CompareAndSwap(0, time.Now().UnixNano())
		if time.Since(told) >= remindEvery {
			told = time.Now()
			since, _ := o.Outage()
			o.log.Error("billing: sink cannot deliver; it goes on trying", "error", err, "failures", failures+1, "since", since.UTC().Format(time.RFC3339))
		}
		timer := time.NewTimer(max(least, pause/2+rand.N(pause/2+1)))
		select {
		case <-timer.C:
		case <-o.closing:
			timer.Stop()
			return fmt.Errorf("%w: %w", billing.ErrClosed, err)
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		pause = min(2*pause, o.pauses.longest)
	}
}

// overdue notes an outage if stop is not called in time: for a client that waits by
// itself.
func (o *outages) overdue(after time.Duration) (stop func()) {
	t := time.AfterFunc(after, func() {
		o.failures.Add(1)
		if o.began.CompareAndSwap(0, time.Now().UnixNano()) {
			o.log.Error("billing: sink cannot deliver; it goes on trying", "error", "no acknowledgement within "+after.String())
		}
	})
	return func() { t.Stop() }
}

// over notes that the receiver has answered.
func (o *outages) over(failures int) {
	if o.began.Swap(0) != 0 {
		o.log.Warn("billing: sink delivers again", "failures", failures)
	}
}

// each delivers n messages by try, which gets the places of those that are still to
// be delivered, in order, and returns one error for each. What met an outage is tried
// again.
func (o *outages) each(ctx context.Context, n int, try func(left []int) []error) []error {
	errs := make([]error, n)
	left := make([]int, n)
	for i := range left {
		left[i] = i
	}
	err := o.persist(ctx, func() (time.Duration, error) {
		var again []int
		var outage error
		for i, err := range try(left) {
			errs[left[i]] = err
			if errors.Is(err, errOutage) {
				again, outage = append(again, left[i]), err
			}
		}
		left = again
		return 0, outage
	})
	for _, i := range left {
		errs[i] = err
	}
	for _, err := range errs {
		if err != nil {
			return errs
		}
	}
	return nil
}
