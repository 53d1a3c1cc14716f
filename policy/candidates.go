package policy

import (
	"slices"

	"github.com/shunt-gateway/shunt/catalog"
)

// candidates are the offers of one model that may serve.
type candidates struct {
	entries []entry // a part of decider.entries
	best    *entry  // of them, by the sort criterion; only for fallback models
	blame   Reason  // the last check that any offer failed; reasonNone: the model has no offers
	strict  bool    // saved preferences without fallback chose among them (PREF-5)
}

// candidates gives every offer of m a place or a reason to be left out.
func (d *decider) candidates(m *catalog.Model, dec *Decision) candidates {
	var saved Preferences
	if d.saved {
		saved = d.req.Preferences.For(m)
	}
	from := len(d.entries)
	c := candidates{strict: d.saved && d.preferring && !d.req.controls.object() && !saved.EnableFallback}
	for _, o := range m.Offers {
		reason := d.reject(o, &saved)
		if reason == reasonNone {
			var e entry
			if e, reason = d.place(o, m, &saved); reason == reasonNone {
				d.entries = append(d.entries, e)
				continue
			}
		}
		c.blame = max(c.blame, reason)
		dec.Left = append(dec.Left, LeftOut{o, reason})
	}
	c.entries = d.entries[from:len(d.entries):len(d.entries)]
	return c
}

// reject returns the first reason why o may not serve.
func (d *decider) reject(o *catalog.Offer, saved *Preferences) Reason {
	r, c, p := d.req, &d.req.controls, o.Provider
	switch {
	case !o.Enabled:
		return Disabled
	case !o.APIs.Has(r.API):
		return NotThisAPI
	case c.pin != nil && p != c.pin: // REQ-5
		return NotPinned
	case c.hasOnly && !contains(c.only, p): // SEL-2
		return NotInOnly
	case c.exact() && !contains(c.order, p): // SEL-3
		return NotInOrder
	case contains(c.ignore, p): // SEL-4
		return Ignored
	case contains(saved.Excluded, p) && !r.names(p): // PREF-5
		return Excluded
	case !c.affords(o.Price): // SEL-5
		return OverMaxPrice
	case c.parameters && !o.Parameters.Has(r.Params): // SEL-7
		return LacksParameters
	case r.Engine != nil && !slices.Contains(o.Engines, r.Engine): // SEL-13
		return NotThisEngine
	case c.tools && !o.Tools: // SEL-12
		return NoTools
	case r.Caching && !o.Caching: // CACHE-1
		return NoCaching
	}
	return reasonNone
}

// affords: an unknown price passes.
func (c *controls) affords(p *catalog.Price) bool {
	return p == nil || c.maxPrompt.under(p.Prompt) && c.maxCompletion.under(p.Completion)
}

// Places before those that the sort gives. Within each, providers keep the order
// of their list, which is shorter than span.
const (
	span       = 1 << 20
	placeFirst = iota * span // order, saved preference, pin
	placeSticky
	placeEngine
	placeDefault
	placeSorted
)

// place says where o stands and what put it there; a reason that is not
// reasonNone leaves it out.
func (d *decider) place(o *catalog.Offer, m *catalog.Model, saved *Preferences) (entry, Reason) {
	e := d.measure(o)
	c, p := &d.req.controls, o.Provider
	e.place, e.reason = e.place|placeSorted, ranked(d.sort)
	put := func(place int, why Reason) (entry, Reason) {
		e.place, e.reason = e.place&behindUsable|uint32(place), why
		return e, reasonNone
	}
	switch {
	case c.pin != nil:
		return put(placeFirst, Pinned)
	case c.hasOrder:
		if i := indexOf(c.order, p); i >= 0 {
			return put(placeFirst+i, ListedInOrder)
		}
	}
	if d.req.Caching && p == d.req.Sticky && !e.cooling() { // CACHE-2: goes first while usable
		return put(placeSticky, LastServed)
	}
	if !d.preferring {
		return e, reasonNone
	}
	if d.saved && !c.object() { // request controls replace saved ones (SEL-1)
		if i := indexOf(saved.Preferred, p); i >= 0 {
			return put(placeFirst+i, SavedPreference)
		}
		if !saved.EnableFallback {
			return e, NotPreferred
		}
	}
	if d.req.Engine != nil && p == d.req.Engine.DefaultProvider {
		return put(placeEngine, EngineDefault)
	}
	if i := indexOf(m.DefaultProviders, p); i >= 0 {
		return put(placeDefault+i, DefaultProvider)
	}
	if len(m.DefaultProviders) > 0 {
		return e, NotDefault
	}
	return e, reasonNone
}
