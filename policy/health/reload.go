package health

import (
	"slices"

	"github.com/shunt-gateway/shunt/catalog"
)

// Reload returns a table for another catalog that goes on with what this one knows
// of the offers they share: by provider and upstream model, that of the same public
// model first. t must not be used any more. Under another window the samples of the
// old one are lost, except for the last of each offer.
func (t *Table) Reload(cat *catalog.Catalog, cfg catalog.Health) *Table {
	type name struct{ provider, upstream string }
	exact := make(map[uint64]int, len(t.offers))
	byName := make(map[name]int, len(t.offers))
	for i, o := range t.cat.Offers() {
		exact[keyOf(o)] = i
		if n := (name{o.Provider.Slug, o.Upstream}); !has(byName, n) {
			byName[n] = i
		}
	}
	next := New(cat, cfg, t.instance)
	taken := make(map[int]bool, len(t.offers))
	for i, o := range cat.Offers() {
		from, ok := exact[keyOf(o)]
		if !ok {
			from, ok = byName[name{o.Provider.Slug, o.Upstream}]
		}
		if ok {
			next.carry(int32(i), t, from)
			if taken[from] {
				next.offers[i].own()
			}
			taken[from] = true
		}
	}
	next.everyone = t.everyone
	reached := make(map[string]party, len(t.providers))
	for i, p := range t.cat.Providers {
		reached[p.Slug] = t.providers[i]
	}
	for i, p := range cat.Providers {
		next.providers[i] = reached[p.Slug]
	}
	return next
}

func has[K comparable, V any](m map[K]V, k K) bool {
	_, ok := m[k]
	return ok
}

// carry moves the state of an old offer.
func (t *Table) carry(i int32, old *Table, from int) {
	o, was := &t.offers[i], old.offers[from]
	m, before := &t.models[o.model], &old.models[was.model]
	was.model, was.provider = o.model, o.provider
	was.dirty, was.unsent = o.dirty, false
	was.reach = party{}
	*o = was
	if o.version > 0 {
		t.tell(i)
	}
	t.published[i].TTFT, t.published[i].Throughput = old.published[from].TTFT, old.published[from].Throughput
	if t.cfg.slot == old.cfg.slot {
		m.streamed = max(m.streamed, before.streamed)
		return
	}
	o.remote = nil
	for _, w := range o.windows {
		if w != nil {
			w.slots = [slots]slot{}
		}
	}
}

// own gives o what it shares with no other offer.
func (o *offer) own() {
	o.remote = slices.Clone(o.remote)
	for k, w := range o.windows {
		if w != nil {
			c := *w
			o.windows[k] = &c
		}
	}
}
