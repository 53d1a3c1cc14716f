package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/health"
)

// vitalsEvery is how often what was learned reaches decisions. A cooldown is felt by
// requests that begin this much later.
const vitalsEvery = 50 * time.Millisecond

// vitals keep what providers do now, and put it where requests read it. Reports come
// from the access log, never from the path of a request.
type vitals struct {
	mu    sync.Mutex
	table *health.Table
	world *extproc.World
	live  *extproc.Live

	cooled func(*catalog.Offer) // is told of cooldowns that begin; nil: nobody is
}

// adopt makes w the world that requests read, with what is known of its offers.
func (v *vitals) adopt(w *extproc.World) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := w.Snapshot.Catalog
	if v.table == nil {
		v.table = health.New(c, c.Routing.Health, rand.Uint64())
	} else {
		v.table = v.table.Reload(c, c.Routing.Health)
	}
	v.world = w
	v.publish(time.Now())
	v.live.Store(v.world)
}

// publish puts changed figures into a new world; the lock is held.
func (v *vitals) publish(now time.Time) (changes []health.Change) {
	changes = v.table.Changes(now)
	if len(changes) == 0 {
		return nil
	}
	next := *v.world
	snap := *v.world.Snapshot
	snap.Health = snap.Health.With(func(yield func(int, policy.OfferHealth) bool) {
		for _, c := range changes {
			if !yield(c.Offer, policy.OfferHealth(c.Figures)) {
				return
			}
		}
	})
	next.Snapshot = &snap
	v.world = &next
	return changes
}

// count tells of the offers that were not cooling down before and are now.
func (v *vitals) count(before *policy.Health, changes []health.Change, now time.Time) {
	if v.cooled == nil {
		return
	}
	for i := range changes {
		c := &changes[i]
		if c.Figures.CoolingTill.After(now) && !before.At(c.Offer).CoolingTill.After(now) {
			v.cooled(v.world.Snapshot.Catalog.Offers()[c.Offer])
		}
	}
}

// run publishes until ctx ends.
func (v *vitals) run(ctx context.Context) {
	tick := time.NewTicker(vitalsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			v.mu.Lock()
			before := v.world.Snapshot.Health
			if changes := v.publish(now); changes != nil {
				v.live.Store(v.world)
				v.count(before, changes, now)
			}
			v.mu.Unlock()
		}
	}
}

// failed takes a failed attempt, as soon as Envoy reports it. q is its request's
// quote.
func (v *vitals) failed(q *billing.Quote, a *billing.Attempt) {
	for i := range q.Offers {
		if o := &q.Offers[i]; o.Provider == a.Provider {
			v.apply(q, o, health.Event{
				Outcome: health.OutcomeOf(string(a.Outcome)), Started: a.Start, Status: a.Status,
				RetryAfter: a.RetryAfter, Duration: a.Duration, TTFT: a.TTFT, Stream: q.Stream,
			})
			return
		}
	}
}

// ended takes a request that a provider answered with 2xx. Failed attempts have been
// reported before, each by itself.
func (v *vitals) ended(q *billing.Quote, r *billing.Record) {
	o := q.Served(r)
	if o == nil || r.Status < 200 || r.Status > 299 || r.End == billing.EndCut {
		return
	}
	e := health.Event{Outcome: health.OK, Started: r.Start, Status: r.Status, Duration: r.Duration, TTFT: r.TTFT, Stream: q.Stream}
	if n := len(r.Attempts); n > 0 { // the last attempt began when the one before had ended
		before := r.Attempts[n-1]
		if waited := before.Start.Add(before.Duration).Sub(r.Start); waited > 0 && waited < r.TTFT {
			e.Started, e.Duration, e.TTFT = r.Start.Add(waited), r.Duration-waited, r.TTFT-waited
		}
	}
	switch {
	case r.StreamError:
		e.Outcome, e.Status = health.Status, 500
	case r.End == billing.EndClientGone:
		e.Outcome = health.Unknown
	case r.Usage.Completion.Known:
		e.Tokens = r.Usage.Completion.N
	}
	v.apply(q, o, e)
}

func (v *vitals) apply(q *billing.Quote, o *billing.Offer, e health.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	index, ok := offerIndex(v.world.Snapshot.Catalog, q, o)
	if !ok {
		return // a reload took it away
	}
	e.Offer = index
	v.table.Apply(&e, time.Now())
}

// offerIndex finds a quoted offer in the catalog of now.
func offerIndex(c *catalog.Catalog, q *billing.Quote, o *billing.Offer) (int, bool) {
	id := o.Model
	if id == "" {
		id = q.Model
	}
	m, ok := c.Model(id)
	if !ok {
		return 0, false
	}
	p, ok := c.Provider(o.Provider)
	if !ok {
		return 0, false
	}
	offer := m.OfferOf(p)
	if offer == nil || offer.Upstream != o.Upstream {
		return 0, false
	}
	return offer.Index, true
}

// startVitals lets decisions follow what is learned.
func (a *app) startVitals(ctx context.Context, _ *catalog.Catalog) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.vitals.run(ctx)
	}()
	a.up("health", func(context.Context) error {
		cancel()
		<-done
		return nil
	})
	return nil
}

// attempted is told of every attempt that failed.
func (a *app) attempted(requestID string, at billing.Attempt) {
	a.telemetry.Failed(&at)
	text, ok := a.accounts.book.Quote(requestID)
	if !ok {
		return
	}
	if q, err := billing.ParseQuote(text); err == nil {
		a.vitals.failed(q, &at)
	}
}

// settle settles a request and learns from it.
func (a *app) settle(ctx context.Context, q *billing.Quote, r *billing.Record) error {
	a.vitals.ended(q, r)
	return a.accounts.ledger.Settle(ctx, q, r)
}
