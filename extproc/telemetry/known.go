package telemetry

import (
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

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

// offerLabels are of one offer and API.
type offerLabels struct {
	common   []attribute.KeyValue // of all GenAI metrics
	plain    metric.MeasurementOption
	input    metric.MeasurementOption
	output   metric.MeasurementOption
	provider attribute.KeyValue // of shunt's own metrics
	model    attribute.KeyValue
}

const apis = 3

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
	l := newLabels(api, o.Model.ID, o.Upstream, o.Provider)
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
	return newLabels(api, id, other, &catalog.Provider{Slug: k.provider(provider)})
}

func newLabels(api catalog.API, model, upstream string, p *catalog.Provider) *offerLabels {
	l := &offerLabels{
		common: []attribute.KeyValue{
			operationName.String(operationOf(api)), providerName.String(p.Slug),
			requestModel.String(model), responseModel.String(upstream),
		},
		provider: attribute.String("provider", p.Slug),
		model:    attribute.String("model", model),
	}
	if p.Endpoint.Host != "" {
		l.common = append(l.common, serverAddress.String(p.Endpoint.Host), serverPort.Int(int(p.Endpoint.Port)))
	}
	l.plain = l.with()
	l.input, l.output = l.with(tokenType.String("input")), l.with(tokenType.String("output"))
	return l
}

// with are the common labels and more.
func (l *offerLabels) with(more ...attribute.KeyValue) metric.MeasurementOption {
	all := append(l.common[:len(l.common):len(l.common)], more...)
	return metric.WithAttributeSet(attribute.NewSet(all...))
}
