package catalog

import (
	"slices"

	"github.com/shopspring/decimal"
)

// rankPrices gives every offer its PriceRank: the number of different sums of
// prompt and completion price below its own.
func rankPrices(offers []*Offer) {
	type priced struct {
		offer *Offer
		sum   decimal.Decimal
	}
	list := make([]priced, 0, len(offers))
	for _, o := range offers {
		o.PriceRank = UnpricedRank
		if o.Price != nil {
			list = append(list, priced{o, o.Price.Prompt.Add(o.Price.Completion)})
		}
	}
	slices.SortFunc(list, func(a, b priced) int { return a.sum.Cmp(b.sum) })
	rank := 0
	for i, p := range list {
		if i > 0 && !p.sum.Equal(list[i-1].sum) {
			rank++
		}
		p.offer.PriceRank = rank
	}
}
