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
	flights flights

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
	v.hear()
	v.publish(time.Now())
	v.live.Store(v.world)
}

// publish puts changed figures into a new world; the lock is held.
func (v *vitals) publish(now time.Time) (changes []health.Change) {
	changes = v.table.Changes(now)
	v.allow(changes, now)
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

// hear has the table hear of the attempts that began; the lock is held.
func (v *vitals) hear() {
	for _, f := range v.flights.news() {
		e := health.Event{Outcome: health.Started, Started: f.began}
		if f.over {
			e.Outcome = health.Unknown
		}
		v.tell(f.spot, e)
	}
}

// allow says how many more requests may try an offer that is yet to prove itself; the
// lock is held, and the table has heard of all attempts but the newest.
func (v *vitals) allow(changes []health.Change, now time.Time) {
	c := v.world.Snapshot.Catalog
	var more []spot
	for i := range changes {
		if changes[i].Figures.ProbingTill.After(now) {
			more = append(more, spotOf(c.Offers()[changes[i].Offer]))
		}
	}
	v.flights.allow(more, func(s spot) (n int, ok bool) {
		index, ok := s.in(c)
		if !ok {
			return 0, false
		}
		return v.table.Probes(index, now)
	})
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
			v.hear()
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
	v.mu.Lock()
	defer v.mu.Unlock()
	now, known := v.flights.asks(q.ID)
	place := placeOfAttempt(q, a.Provider, now.place)
	if place < 0 {
		return
	}
	e := health.Event{
		Outcome: health.OutcomeOf(string(a.Outcome)), Started: a.Start, Status: a.Status,
		RetryAfter: a.RetryAfter, Duration: a.Duration, TTFT: a.TTFT, Stream: q.Stream,
	}
	if known && place < now.place { // reported late, or twice
		v.end(flight{}, false, quotedSpot(q, &q.Offers[place]), e)
		return
	}
	v.flights.end(q.ID)
	v.end(now, known, quotedSpot(q, &q.Offers[place]), e)
	if known && place+1 < len(q.Offers) && retried(a) {
		v.flights.next(q.ID, flight{spot: quotedSpot(q, &q.Offers[place+1]), place: place + 1, began: a.Start.Add(a.Duration)})
	}
}

// placeOfAttempt is where in the chain an attempt at a provider is, from on if it may
// be; -1: nowhere.
func placeOfAttempt(q *billing.Quote, provider string, from int) int {
	for _, first := range [...]int{from, 0} {
		for i := first; i < len(q.Offers); i++ {
			if q.Offers[i].Provider == provider {
				return i
			}
		}
	}
	return -1
}

// retried: another attempt may follow this one (FALL-1). Where none does, the end of
// the request ends what is taken for it.
func retried(a *billing.Attempt) bool {
	switch a.Status {
	case 400, 413, 422:
		return false
	}
	return a.Outcome != "" && (a.Status < 200 || a.Status > 299)
}

// ended takes a request that has ended. Failed attempts have been reported before,
// each by itself.
func (v *vitals) ended(q *billing.Quote, r *billing.Record) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now, known := v.flights.end(q.ID)
	o := q.Served(r)
	if o == nil || r.Status < 200 || r.Status > 299 || r.End == billing.EndCut {
		v.gone(now, known)
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
	v.end(now, known, quotedSpot(q, o), e)
}

// unsettled takes a request of which nothing more will be heard.
func (v *vitals) unsettled(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now, known := v.flights.end(id)
	v.gone(now, known)
}

// gone ends an attempt without saying how.
func (v *vitals) gone(f flight, known bool) {
	if known {
		v.end(f, true, f.spot, health.Event{})
	}
}

// end tells the table of an end at an offer. f is the attempt that it was known to be
// the end of: the table hears of a start for each end, and of an end for each start.
func (v *vitals) end(f flight, known bool, at spot, e health.Event) {
	v.hear()
	switch {
	case known && f.spot == at:
		e.Started = f.began
	case known:
		v.tell(f.spot, health.Event{Started: f.began})
		fallthrough
	default:
		v.tell(at, health.Event{Outcome: health.Started, Started: e.Started})
	}
	v.tell(at, e)
}

// tell passes an event on, if a reload has not taken its offer away.
func (v *vitals) tell(at spot, e health.Event) {
	if index, ok := at.in(v.world.Snapshot.Catalog); ok {
		if e.Offer = index; e.Outcome == health.Timeout && e.Status == 0 && hurried(v.world.Snapshot.Catalog.Offers()[index], e.Duration) {
			e.Outcome = health.Unknown
		}
		v.table.Apply(&e, time.Now())
	}
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

// unsettle gives a request up.
func (a *app) unsettle(l *billing.Ledger) func(quote string, last *billing.Record, at time.Time) error {
	return func(quote string, last *billing.Record, at time.Time) error {
		if q, err := billing.ParseQuote(quote); err == nil {
			a.vitals.unsettled(q.ID)
		}
		return l.Unsettle(quote, last, at)
	}
}

// settle settles a request and learns from it.
func (a *app) settle(ctx context.Context, q *billing.Quote, r *billing.Record) error {
	a.vitals.ended(q, r)
	a.spend(q, r)
	return a.accounts.ledger.Settle(ctx, q, r)
}
