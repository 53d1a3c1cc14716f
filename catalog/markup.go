package catalog

import "github.com/shopspring/decimal"

// optionalPercent is d.percent for a field that may be unset.
func (d *decoder) optionalPercent(v value) (decimal.NullDecimal, bool) {
	x, ok := d.percent(v)
	return decimal.NewNullDecimal(x), ok
}

// MarkupFor is the factor on o's price where the client selected a provider: 0.05
// for 5 %. A model's markup goes before its provider's, and that before
// billing.markup.
func (b *Billing) MarkupFor(o *Offer) decimal.Decimal {
	switch {
	case o.Model != nil && o.Model.Markup.Valid:
		return o.Model.Markup.Decimal
	case o.Provider != nil && o.Provider.Markup.Valid:
		return o.Provider.Markup.Decimal
	}
	return b.Markup
}
