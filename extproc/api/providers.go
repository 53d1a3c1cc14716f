package api

import (
	"encoding/json"

	"github.com/shopspring/decimal"

	"github.com/shunt-gateway/shunt/catalog"
)

// modelProviders is the answer of API-3.
type modelProviders struct {
	CanonicalID               string     `json:"canonicalId"`
	DisplayName               string     `json:"displayName"`
	SupportsProviderSelection bool       `json:"supportsProviderSelection"`
	DefaultPrice              *per1k     `json:"defaultPrice,omitempty"`
	Providers                 []provider `json:"providers"`
}

type provider struct {
	Provider           string        `json:"provider"`
	Available          bool          `json:"available"`
	Pricing            *per1k        `json:"pricing,omitempty"`
	DistillationPolicy *distillation `json:"distillationPolicy,omitempty"`
}

// per1k is a price per 1,000 tokens.
type per1k struct {
	Input  json.Number `json:"inputPer1kTokens"`
	Output json.Number `json:"outputPer1kTokens"`
}

type distillation struct {
	Status    string `json:"status"`
	Label     string `json:"label,omitempty"`
	Basis     string `json:"basis,omitempty"`
	SourceURL string `json:"sourceUrl,omitempty"`
	Note      string `json:"note,omitempty"`
}

func renderProviders(c *catalog.Catalog, m *catalog.Model) page {
	one := decimal.NewFromInt(1)
	out := modelProviders{
		CanonicalID:               m.ID,
		DisplayName:               m.Name,
		SupportsProviderSelection: m.ProviderSelection,
		DefaultPrice:              per1kOf(m.Price, one),
		Providers:                 []provider{},
	}
	if m.ProviderSelection {
		for _, o := range m.Offers {
			out.Providers = append(out.Providers, provider{
				Provider:           o.Provider.Slug,
				Available:          o.Enabled,
				Pricing:            per1kOf(o.Price, one.Add(c.Billing.MarkupFor(o))), // BILL-2: what the client pays when it selects
				DistillationPolicy: policyOf(o.Distillation),
			})
		}
	}
	return newPage(c, "providers "+m.ID, mustJSON(out))
}

// per1kOf multiplies exactly; nothing is rounded.
func per1kOf(p *catalog.Price, factor decimal.Decimal) *per1k {
	if p == nil {
		return nil
	}
	per1kTokens := func(perMillion decimal.Decimal) json.Number {
		return number(perMillion.Mul(factor).Shift(-3))
	}
	return &per1k{Input: per1kTokens(p.Prompt), Output: per1kTokens(p.Completion)}
}

func policyOf(d *catalog.Distillation) *distillation {
	if d == nil {
		return nil
	}
	return &distillation{Status: d.Status, Label: d.Label, Basis: d.Basis, SourceURL: d.SourceURL, Note: d.Note}
}
