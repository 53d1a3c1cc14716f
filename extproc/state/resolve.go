package state

import (
	"maps"
	"slices"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/prefs"
)

// Resolve turns a document into what policy decides by, under one catalog; nil if
// nothing is saved. Providers and models that the catalog does not know any more are
// ignored; those that it knows by another name are found.
func Resolve(d prefs.Document, c *catalog.Catalog) *policy.Preferences {
	if d.IsZero() {
		return nil
	}
	p := &policy.Preferences{
		Preferred:      providers(d.Preferred, c),
		Excluded:       providers(d.Excluded, c),
		EnableFallback: d.EnableFallback == nil || *d.EnableFallback,
	}
	if len(d.Models) == 0 {
		return p
	}
	p.Models = make(map[*catalog.Model]policy.Override, len(d.Models))
	for _, id := range slices.Sorted(maps.Keys(d.Models)) {
		m, ok := c.Model(id)
		if !ok {
			continue
		}
		if _, twice := p.Models[m]; twice && id != m.ID {
			continue // saved under two ids that are one model's by now
		}
		o := d.Models[id]
		p.Models[m] = policy.Override{
			Preferred: providers(o.Preferred, c), Excluded: providers(o.Excluded, c), EnableFallback: o.EnableFallback,
		}
	}
	return p
}

// providers keeps the difference between no list and an empty one.
func providers(slugs []string, c *catalog.Catalog) []*catalog.Provider {
	if slugs == nil {
		return nil
	}
	list := make([]*catalog.Provider, 0, len(slugs))
	for _, slug := range slugs {
		if p, ok := c.Provider(slug); ok && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}
