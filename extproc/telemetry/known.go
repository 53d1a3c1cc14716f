package telemetry

import (
	"sync/atomic"

	"github.com/shunt-gateway/shunt/catalog"
)

// other stands for models and providers that the catalog does not have, or no longer
// has.
const other = "other"

// known are the labels of a catalog's offers, each made when it is first needed.
type known struct {
	cat    *catalog.Catalog
	offers []atomic.Pointer[offerLabels] // by Offer.Index and API
}

const apis = int(catalog.Responses) + 1

// Adopt makes c the catalog whose names are labels.
func (t *Telemetry) Adopt(c *catalog.Catalog) {
	t.known.Store(&known{cat: c, offers: make([]atomic.Pointer[offerLabels], apis*len(c.Offers()))})
}

// provider is a provider's label.
func (k *known) provider(slug string) string {
	if k != nil {
		if p, ok := k.cat.Provider(slug); ok {
			return p.Slug
		}
	}
	return other
}

// labels are those of an offer that a request was quoted, nil offer: none.
func (k *known) labels(api catalog.API, model, provider, upstream string) *offerLabels {
	o := k.offer(model, provider, upstream)
	if o == nil {
		return k.stranger(api, model, provider)
	}
	at := &k.offers[apis*o.Index+int(api)]
	if l := at.Load(); l != nil {
		return l
	}
	l := newOfferLabels(api, o.Model.ID, o.Upstream, o.Provider)
	at.Store(l)
	return l
}

func (k *known) offer(model, provider, upstream string) *catalog.Offer {
	if k == nil {
		return nil
	}
	m, ok := k.cat.Model(model)
	if !ok {
		return nil
	}
	p, ok := k.cat.Provider(provider)
	if !ok {
		return nil
	}
	if o := m.OfferOf(p); o != nil && o.Upstream == upstream {
		return o
	}
	return nil
}

// stranger are the labels of an offer that a reload took away, or of none.
func (k *known) stranger(api catalog.API, model, provider string) *offerLabels {
	id := other
	if k != nil {
		if m, ok := k.cat.Model(model); ok {
			id = m.ID
		}
	}
	return newOfferLabels(api, id, other, &catalog.Provider{Slug: k.provider(provider)})
}
