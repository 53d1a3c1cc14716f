package catalog

import (
	"strings"
	"unicode/utf8"
)

// Lookups of what clients send. Those that take bytes do not allocate, except for
// a provider's name with letters outside ASCII.

// Provider finds a provider by its slug, an alias or its name, in any case
// (REQ-5).
func (c *Catalog) Provider(name string) (*Provider, bool) {
	p, ok := c.providers[strings.ToLower(name)]
	return p, ok
}

// ProviderBytes is Provider for bytes.
func (c *Catalog) ProviderBytes(name []byte) (*Provider, bool) {
	const longest = 256 // no provider has a longer name
	var buf [longest]byte
	if len(name) > longest {
		return nil, false
	}
	for i, b := range name {
		if b >= utf8.RuneSelf {
			return c.Provider(string(name))
		}
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		buf[i] = b
	}
	p, ok := c.providers[string(buf[:len(name)])]
	return p, ok
}

// Model finds a model by its id or an alias, exactly (REQ-2).
func (c *Catalog) Model(id string) (*Model, bool) {
	m, ok := c.models[id]
	return m, ok
}

// ModelBytes is Model for bytes.
func (c *Catalog) ModelBytes(id []byte) (*Model, bool) {
	m, ok := c.models[string(id)]
	return m, ok
}

// Variant finds a variant by its name, exactly (SEL-15).
func (c *Catalog) Variant(name string) (*Variant, bool) {
	v, ok := c.variants[name]
	return v, ok
}

// VariantBytes is Variant for bytes.
func (c *Catalog) VariantBytes(name []byte) (*Variant, bool) {
	v, ok := c.variants[string(name)]
	return v, ok
}

// Engine finds an engine by its name, exactly (SEL-13).
func (c *Catalog) Engine(name string) (*Engine, bool) {
	e, ok := c.engines[name]
	return e, ok
}

// EngineBytes is Engine for bytes.
func (c *Catalog) EngineBytes(name []byte) (*Engine, bool) {
	e, ok := c.engines[string(name)]
	return e, ok
}

// OfferOf returns the provider's offer for the model, enabled or not, or nil.
func (m *Model) OfferOf(p *Provider) *Offer {
	for _, o := range m.Offers {
		if o.Provider == p {
			return o
		}
	}
	return nil
}
