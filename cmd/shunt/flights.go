package main

import (
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/telemetry"
)

// spot is an offer, whatever the catalog.
type spot struct{ model, provider, upstream string }

func spotOf(o *catalog.Offer) spot { return spot{o.Model.ID, o.Provider.Slug, o.Upstream} }

func quotedSpot(q *billing.Quote, o *billing.Offer) spot {
	if o.Model != "" {
		return spot{o.Model, o.Provider, o.Upstream}
	}
	return spot{q.Model, o.Provider, o.Upstream}
}

// in finds the offer in a catalog.
func (s spot) in(c *catalog.Catalog) (index int, ok bool) {
	m, ok := c.Model(s.model)
	if !ok {
		return 0, false
	}
	p, ok := c.Provider(s.provider)
	if !ok {
		return 0, false
	}
	offer := m.OfferOf(p)
	if offer == nil || offer.Upstream != s.upstream {
		return 0, false
	}
	return offer.Index, true
}

// flight is an attempt that a provider is working on.
type flight struct {
	spot
	place int       // in its request's chain, from 0
	began time.Time // when it was decided, or the attempt before it ended
	over  bool      // it came to nothing: news that takes other news back
}

// flights are the attempts under way, one for each request. Requests begin them on
// their way, and wait for nothing longer than a map: the table of health hears of them
// later. They end with the reports of attempts and requests, and at the latest with the
// event that says unsettled.
type flights struct {
	mu    sync.Mutex
	byID  map[string]flight
	begun []flight // what the table has not heard of
	spare []flight
	// probes are how many more attempts may try the offers that have yet to prove
	// themselves.
	probes map[spot]int
}

// Begin implements extproc.Flights.
func (f *flights) Begin(id string, o *catalog.Offer) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begin(id, flight{spot: spotOf(o), began: now})
}

// Probe implements extproc.Flights.
func (f *flights) Probe(id string, o *catalog.Offer) bool {
	now, at := time.Now(), spotOf(o)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.probes[at] < 1 {
		return false
	}
	f.probes[at]--
	f.begin(id, flight{spot: at, began: now})
	return true
}

// Cancel implements extproc.Flights.
func (f *flights) Cancel(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.byID[id]; ok {
		delete(f.byID, id)
		fl.over = true
		f.begun = append(f.begun, fl)
	}
}

// next takes note that a request goes on with the next attempt.
func (f *flights) next(id string, to flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begin(id, to)
}

func (f *flights) begin(id string, fl flight) {
	if f.byID == nil {
		f.byID = make(map[string]flight)
	}
	if _, ok := f.byID[id]; ok {
		return // asked twice: it is one request
	}
	f.byID[id] = fl
	f.begun = append(f.begun, fl)
}

// end forgets a request's attempt; ok is false for one that this process did not see
// begin.
func (f *flights) end(id string) (fl flight, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok = f.byID[id]; ok {
		delete(f.byID, id)
	}
	return fl, ok
}

// asks is the attempt that a request is at.
func (f *flights) asks(id string) (fl flight, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl, ok = f.byID[id]
	return fl, ok
}

// news are the attempts that began since the last call. The slice is good until the
// next.
func (f *flights) news() []flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	news := f.begun
	f.begun, f.spare = f.spare[:0], news
	return news
}

// allow sets how many more probes may begin, by what left says of an offer; ok is
// false for one that has nothing to prove. more are offers that it is asked of beside
// those it was asked of before.
func (f *flights) allow(more []spot, left func(spot) (n int, ok bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.probes == nil {
		f.probes = make(map[spot]int)
	}
	for _, s := range more {
		f.probes[s] = 0
	}
	for s := range f.probes {
		n, ok := left(s)
		if !ok {
			delete(f.probes, s)
			continue
		}
		for i := range f.begun { // left has not heard of them
			if b := &f.begun[i]; b.spot == s && b.over {
				n++
			} else if b.spot == s {
				n--
			}
		}
		f.probes[s] = n
	}
}

// working is how many attempts each provider is working on.
func (f *flights) working() map[string]int {
	n := make(map[string]int)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fl := range f.byID {
		n[fl.provider]++
	}
	return n
}

// flightFigures tell how many attempts are under way.
func (a *app) flightFigures() {
	a.telemetry.Gauges("shunt.attempts.in_flight", "", "attempts that a provider is working on", func(p telemetry.Points) {
		n := a.vitals.flights.working()
		for _, provider := range a.live.Load().Snapshot.Catalog.Providers {
			n[provider.Slug] += 0 // also those that do nothing
		}
		for slug, count := range n {
			p(float64(count), attribute.String("provider", slug))
		}
	})
}
