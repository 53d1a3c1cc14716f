package policy

import (
	"slices"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
)

// Decide ranks the offers for req. The same arguments give the same decision
// (SEL-16). rnd is not read yet: nothing here is left to chance.
//
// Where no offer of any model can serve, the error says which input is to blame,
// and the decision, without attempts, why each offer was left out.
func Decide(req *Request, snap *Snapshot, now time.Time, _ uint64) (*Decision, *Error) {
	d := newDecider(req, snap, now)
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
	if len(primary.entries) == 0 && (d.limitReason != BeyondMaxAttempts || len(req.Models) == 0) {
		d.leaveAll(req.Models, dec)
		return dec, d.nobody(req.Model, &primary)
	}
	d.emit(&primary, dec)
	d.fallBack(req.Models, dec)
	if len(dec.Attempts) == 0 {
		return dec, d.nobody(req.Model, &primary)
	}
	dec.Kind = d.kind(dec)
	dec.Paygo = !req.Subscriber || req.Paygo || dec.Kind == KindExplicit || dec.Kind == KindSuffix || dec.Kind == KindPreference
	return dec, nil
}

// decider is one decision in the making.
type decider struct {
	req  *Request
	snap *Snapshot
	now  time.Time

	sort         catalog.Sort
	cacheTies    bool // CACHE-3: cache prices break ties
	unpricedLast bool // SEL-5
	saved        bool // saved preferences apply (PREF-4)
	preferring   bool // saved preferred providers and defaults choose (SEL-1)
	limit        int  // attempts that may still be made, at most
	limitReason  Reason

	entries []entry // of all models
}

// defaultMaxAttempts stands in for a catalog without routing.max_attempts.
const defaultMaxAttempts = 6

func newDecider(req *Request, snap *Snapshot, now time.Time) *decider {
	c, routing := &req.controls, &snap.Catalog.Routing
	d := &decider{
		req: req, snap: snap, now: now,
		cacheTies:    req.Caching,
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

// emit appends a model's candidates, in their order, as far as attempts are left.
func (d *decider) emit(m *candidates, dec *Decision) {
	slices.SortFunc(m.entries, comparePlaced)
	for i := range m.entries {
		e := &m.entries[i]
		if d.limit == 0 {
			dec.Left = append(dec.Left, LeftOut{e.offer, d.limitReason})
			continue
		}
		d.limit--
		dec.Attempts = append(dec.Attempts, Attempt{Offer: e.offer, Reason: e.reason, Cooling: e.cooling})
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
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b candidates) int { return compareSorted(&a.best, &b.best) })
	for i := range all {
		d.emit(&all[i], dec)
	}
}

// leaveAll gives every offer of models its reason, where none may be tried.
func (d *decider) leaveAll(models []*catalog.Model, dec *Decision) {
	d.limit = 0
	d.fallBack(models, dec)
}
