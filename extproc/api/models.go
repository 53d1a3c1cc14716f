package api

import (
	"encoding/json"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/shunt-gateway/shunt/catalog"
)

// model is one entry of the model list (API-2): OpenAI's fields and the slugs of
// the providers that serve it.
type model struct {
	ID        string   `json:"id"`
	Object    string   `json:"object"`
	Created   int64    `json:"created"` // always 0: the catalog does not know
	OwnedBy   string   `json:"owned_by"`
	Providers []string `json:"providers"`
	*details
}

// details are added by ?detailed=true. Capabilities, APIs and parameters are those
// that at least one of the providers has.
type details struct {
	Name                string          `json:"name"`
	Aliases             []string        `json:"aliases"`
	Pricing             *pricing        `json:"pricing,omitempty"`
	APIs                []string        `json:"apis"`
	SupportedParameters []string        `json:"supported_parameters"`
	Capabilities        map[string]bool `json:"capabilities"`
}

// pricing is the model's default price, as the catalog has it: per 1,000,000
// tokens, and per request.
type pricing struct {
	Prompt     json.Number  `json:"prompt"`
	Completion json.Number  `json:"completion"`
	CacheRead  *json.Number `json:"cache_read,omitempty"`
	CacheWrite *json.Number `json:"cache_write,omitempty"`
	Request    *json.Number `json:"request,omitempty"`
	Currency   string       `json:"currency"`
	Unit       string       `json:"unit"`
}

// modelPages are the list and, apart, each of its entries.
type modelPages struct {
	all  page
	each map[*catalog.Model]page
}

func renderModels(c *catalog.Catalog, resource string, shape func(*catalog.Catalog, *catalog.Model) model) modelPages {
	out := modelPages{each: make(map[*catalog.Model]page, len(c.Models))}
	entries := make([]json.RawMessage, len(c.Models))
	for i, m := range c.Models {
		entries[i] = mustJSON(shape(c, m))
		out.each[m] = newPage(c, resource+" "+m.ID, entries[i])
	}
	out.all = newPage(c, resource, mustJSON(listOf(entries)))
	return out
}

func briefly(_ *catalog.Catalog, m *catalog.Model) model {
	owner, _, ok := strings.Cut(m.ID, "/")
	if !ok {
		owner = "shunt"
	}
	out := model{ID: m.ID, Object: "model", OwnedBy: owner, Providers: []string{}}
	for _, o := range m.Offers {
		if o.Enabled {
			out.Providers = append(out.Providers, o.Provider.Slug)
		}
	}
	return out
}

func inDetail(c *catalog.Catalog, m *catalog.Model) model {
	var (
		caching, tools bool
		apis           catalog.APISet
		params         catalog.ParamSet
	)
	for _, o := range m.Offers {
		if o.Enabled {
			caching, tools = caching || o.Caching, tools || o.Tools
			apis |= o.APIs
			params = params.With(o.Parameters)
		}
	}
	out := briefly(c, m)
	out.details = &details{
		Name:                m.Name,
		Aliases:             append([]string{}, m.Aliases...),
		Pricing:             pricingOf(c, m.Price),
		APIs:                []string{},
		SupportedParameters: append([]string{}, params.Names()...),
		Capabilities:        map[string]bool{"caching": caching, "tools": tools},
	}
	for _, api := range []catalog.API{catalog.Chat, catalog.Completions, catalog.Responses} {
		if apis.Has(api) {
			out.APIs = append(out.APIs, api.String())
		}
	}
	return out
}

func pricingOf(c *catalog.Catalog, p *catalog.Price) *pricing {
	if p == nil {
		return nil
	}
	out := &pricing{
		Prompt: number(p.Prompt), Completion: number(p.Completion),
		CacheRead: optional(p.CacheRead), CacheWrite: optional(p.CacheWrite),
		Currency: c.Billing.Currency, Unit: "per_million_tokens",
	}
	if !p.Request.IsZero() {
		out.Request = optional(decimal.NewNullDecimal(p.Request))
	}
	return out
}

func optional(d decimal.NullDecimal) *json.Number {
	if !d.Valid {
		return nil
	}
	n := number(d.Decimal)
	return &n
}
