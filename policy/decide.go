package policy

import (
	"slices"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
)

// Decide ranks the offers for req. The same arguments give the same decision
// (SEL-16). req comes from Read with snap's catalog. rnd, evenly distributed, says
// which requests explore an offer that little is known of, or try one that has yet
// to prove itself; with 0 none does.
//
// Where no offer of any model can serve, the error says which input is to blame,
// and the decision, without attempts, why each offer was left out.
func Decide(req *Request, snap *Snapshot, now time.Time, rnd uint64) (*Decision, *Error) {
	d := newDecider(req, snap, now, chance(rnd))
	offers := len(req.Model.Offers)
	for _, m := range req.Models {
		offers += len(m.Offers)
	}
	dec := &Decision{
		Model:    req.Model,
		Sort:     d.sort,
		Attempts: make([]Attempt, 0, min(d.limit, offers)),
		Left:     make([]LeftOut, 0, offers),
	}
	d.entries = make([]entry, 0, offers)
	primary := d.candidates(req.Model, dec)
	if len(primary.entries) == 0 && d.limitReason != BeyondMaxAttempts {
		d.limit = 0 // a fallback model is a fallback too
	}
	if len(primary.entries) > 1 {
		d.explore(&primary)
	}
	d.emit(&primary, dec)
	d.fallBack(req.Models, dec)
	dec.Kind = d.kind(dec)
	dec.Paygo = !req.Subscriber || req.Paygo || dec.Kind != KindDefault && dec.Kind != KindCaching
	if len(dec.Attempts) == 0 {
		return dec, d.nobody(req.Model, &primary)
	}
	return dec, nil
}

// decider is one decision in the making.
type decider struct {
	req    *Request
	snap   *Snapshot
	now    time.Time
	chance chance
	offers []*catalog.Offer // of the catalog, by Offer.Index

	sort         catalog.Sort
	unpricedLast bool // SEL-5
	saved        bool // saved preferences apply (PREF-4)
	preferring   bool // saved preferred providers and defaults choose (SEL-1)
	limit        int  // attempts that may still be made, at most
	limitReason  Reason

	entries []entry // of all models
}

// defaultMaxAttempts stands in for a catalog without routing.max_attempts.
const defaultMaxAttempts = 6

func newDecider(req *Request, snap *Snapshot, now time.Time, rnd chance) *decider {
	c, routing := &req.controls, &snap.Catalog.Routing
	d := &decider{
		req: req, snap: snap, now: now, chance: rnd, offers: snap.Catalog.Offers(),
		unpricedLast: c.capped(),
		limit:        routing.MaxAttempts,
		limitReason:  BeyondMaxAttempts,
	}
	if d.limit <= 0 {
		d.limit = defaultMaxAttempts
	}
	switch {
	case c.pin != nil || c.noFallbacks: // SEL-8
		d.limit, d.limitReason = 1, FallbacksOff
	case c.one(): // SEL-6
		d.limit, d.limitReason = 1, ResolvedToOne
	}
	d.sort = sortOf(req, routing.Sort)
	selects := c.explicit() || c.suffix != catalog.SortUnset || c.tools
	d.saved = req.Preferences != nil && req.Model.ProviderSelection && (!req.Subscriber || req.Paygo || selects)
	d.preferring = !selects && !req.Caching
	return d
}

// sortOf is the criterion of a request: SEL-1, SEL-5, SEL-6, SEL-10, CACHE-3.
func sortOf(req *Request, platform catalog.Sort) catalog.Sort {
	c := &req.controls
	switch {
	case criterion(c.sort):
		return c.sort
	case c.suffix != catalog.SortUnset:
		return c.suffix
	case req.Caching, c.capped() && !c.hasOrder, c.one():
		return catalog.SortPrice
	case criterion(platform):
		return platform
	}
	return catalog.SortLatency
}

// kind is what the request is billed as (BILL-2).
func (d *decider) kind(dec *Decision) Kind {
	c := &d.req.controls
	switch {
	case c.explicit():
		return KindExplicit
	case c.suffix != catalog.SortUnset || c.tools:
		return KindSuffix
	case d.req.Caching:
		return KindCaching
	}
	for _, a := range dec.Attempts {
		if a.Reason == SavedPreference {
			return KindPreference
		}
	}
	return KindDefault
}

// emit appends a model's candidates, the best first, as far as attempts are left.
func (d *decider) emit(m *candidates, dec *Decision) {
	n := min(d.limit, len(m.entries))
	d.limit -= n
	d.selectFirst(m.entries, n)
	for i := range m.entries[:n] {
		e := &m.entries[i]
		dec.Attempts = append(dec.Attempts, Attempt{
			Offer: d.offers[e.offer], Reason: e.reason, Cooling: e.cooling(), Missed: e.verdict == misses,
		})
	}
	for i := range m.entries[n:] {
		dec.Left = append(dec.Left, LeftOut{d.offers[m.entries[n+i].offer], d.limitReason})
	}
}

// fallBack appends the fallback models, ordered among themselves by the sort
// criterion on their best offer (SEL-14); those that tie keep the order in which
// they were listed.
func (d *decider) fallBack(models []*catalog.Model, dec *Decision) {
	if len(models) == 0 {
		return
	}
	all := make([]candidates, 0, len(models))
	for _, m := range models {
		if c := d.candidates(m, dec); len(c.entries) > 0 {
			c.best = d.bestOf(c.entries)
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b candidates) int { return d.compareSorted(a.best, b.best) })
	for i := range all {
		d.emit(&all[i], dec)
	}
}
