package prefs

import (
	"encoding/json"

	"github.com/shunt-gateway/shunt/catalog"
)

// view is a document as the API shows it: every field is there, and of an override
// those that it sets.
type view struct {
	Preferred      []string            `json:"preferredProviders"`
	Excluded       []string            `json:"excludedProviders"`
	EnableFallback bool                `json:"enableFallback"`
	Models         map[string]Override `json:"modelOverrides"`
	Available      []string            `json:"availableProviders"`
}

// Render is a GET's answer (PREF-2): JSON, the same bytes for the same arguments.
// Names that the catalog does not know any more are left out, so that what was got
// can be sent back in a PATCH, without availableProviders. Those are the providers
// that could serve some model on which preferences have an effect, sorted.
func Render(d Document, c *catalog.Catalog) []byte {
	v := view{
		Preferred:      known(d.Preferred, c),
		Excluded:       known(d.Excluded, c),
		EnableFallback: d.EnableFallback == nil || *d.EnableFallback,
		Models:         make(map[string]Override, len(d.Models)),
		Available:      available(c),
	}
	for id, o := range d.Models {
		m, ok := c.Model(id)
		if !ok {
			continue
		}
		shown := Override{EnableFallback: o.EnableFallback}
		if o.Preferred != nil {
			shown.Preferred = known(o.Preferred, c)
		}
		if o.Excluded != nil {
			shown.Excluded = known(o.Excluded, c)
		}
		v.Models[m.ID] = shown
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, lists and booleans always marshal
	}
	return b
}

// known returns the slugs, by today's catalog, of those providers that it knows;
// never nil.
func known(names []string, c *catalog.Catalog) []string {
	slugs := make([]string, 0, len(names))
	seen := make(providerSet, len(names))
	for _, name := range names {
		if p, ok := c.Provider(name); ok && !seen[p] {
			seen[p] = true
			slugs = append(slugs, p.Slug)
		}
	}
	return slugs
}

func available(c *catalog.Catalog) []string {
	serves := make(providerSet)
	for _, m := range c.Models {
		if !m.ProviderSelection {
			continue
		}
		for _, o := range m.Offers {
			serves[o.Provider] = serves[o.Provider] || o.Enabled
		}
	}
	slugs := make([]string, 0, len(c.Providers))
	for _, p := range c.Providers { // sorted
		if serves[p] {
			slugs = append(slugs, p.Slug)
		}
	}
	return slugs
}
