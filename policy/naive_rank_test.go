package policy_test

import (
	"encoding/json"
	"math/big"
	"time"

	"github.com/shopspring/decimal"

	"github.com/shunt-gateway/shunt/catalog"
)

// The second implementation's ranking.

// by is the criterion that ranks: SEL-1, SEL-5, SEL-6, SEL-10, CACHE-3.
func (n *naive) by() string {
	if s, ok := n.criterion(); ok {
		return s
	}
	if s := n.preferenceSuffix(); s != "" {
		return s
	}
	if n.caching || n.one() || len(n.wishes.MaxPrice) > 0 && n.wishes.Order == nil {
		return "price"
	}
	return map[catalog.Sort]string{catalog.SortSpeed: "speed", catalog.SortThroughput: "throughput",
		catalog.SortLatency: "latency", catalog.SortPrice: "price"}[n.w.cat.Routing.Sort]
}

// better is SEL-9, SEL-5's last place for unknown prices, and SEL-11.
func (n *naive) better(a, b *catalog.Offer) bool {
	if ca, cb := n.cooling(a), n.cooling(b); ca != cb {
		return cb
	}
	if len(n.wishes.MaxPrice) > 0 && (a.Price == nil) != (b.Price == nil) {
		return b.Price == nil
	}
	if va, vb := n.verdict(a), n.verdict(b); va != vb {
		return va < vb
	}
	for _, score := range []func(o *catalog.Offer) *big.Rat{n.score, sum} {
		sa, sb := score(a), score(b)
		switch {
		case sa == nil && sb == nil:
		case sa == nil || sb == nil:
			return sb == nil
		case sa.Cmp(sb) != 0:
			return sa.Cmp(sb) < 0
		}
	}
	if n.caching && a.Price != nil {
		for _, price := range []func(*catalog.Price) decimal.NullDecimal{
			func(p *catalog.Price) decimal.NullDecimal { return p.CacheWrite },
			func(p *catalog.Price) decimal.NullDecimal { return p.CacheRead },
		} {
			if c := orPrompt(a, price).Cmp(orPrompt(b, price)); c != 0 {
				return c < 0
			}
		}
	}
	return a.Provider.Slug < b.Provider.Slug
}

func sum(o *catalog.Offer) *big.Rat {
	if o.Price == nil {
		return nil
	}
	return o.Price.Prompt.Add(o.Price.Completion).Rat()
}

func orPrompt(o *catalog.Offer, price func(*catalog.Price) decimal.NullDecimal) *big.Rat {
	if d := price(o.Price); d.Valid {
		return d.Decimal.Rat()
	}
	return o.Price.Prompt.Rat()
}

// score is what the criterion makes of an offer, the smaller the better; nil:
// nothing is known.
func (n *naive) score(o *catalog.Offer) *big.Rat {
	ttft, tput := n.health(o).TTFT, n.health(o).Throughput
	if ttft == 0 {
		ttft = o.Estimate.TTFT
	}
	if tput == 0 {
		tput = o.Estimate.Throughput
	}
	switch n.by() {
	case "price":
		return sum(o)
	case "throughput":
		if tput == 0 {
			return nil
		}
		return new(big.Rat).Neg(new(big.Rat).SetFloat64(tput))
	case "speed":
		if ttft == 0 || tput == 0 {
			return nil
		}
		s := new(big.Rat).Quo(big.NewRat(500, 1), new(big.Rat).SetFloat64(tput))
		return s.Add(s, big.NewRat(int64(ttft), 1e9))
	}
	if ttft == 0 {
		return nil
	}
	return big.NewRat(int64(ttft), 1)
}

// figures are preferred percentiles: a number is that of p50.
type figures map[string]float64

func (f *figures) UnmarshalJSON(b []byte) error {
	var p50 float64
	if json.Unmarshal(b, &p50) == nil {
		*f = figures{"p50": p50}
		return nil
	}
	return json.Unmarshal(b, (*map[string]float64)(f))
}

// verdict is 0 for an offer that meets what the request prefers, 1 if that is not
// known, 2 if it does not.
func (n *naive) verdict(o *catalog.Offer) (worst int) {
	h := n.health(o)
	judge := func(known, met bool) {
		switch {
		case !known:
			worst = max(worst, 1)
		case !met:
			worst = 2
		}
	}
	for i, name := range []string{"p50", "p75", "p90", "p99"} {
		ttft, throughput := h.TTFTs[i], h.Throughputs[i]
		if i == 0 {
			for _, other := range []time.Duration{h.TTFT, o.Estimate.TTFT} {
				if ttft == 0 {
					ttft = other
				}
			}
			for _, other := range []float64{h.Throughput, o.Estimate.Throughput} {
				if throughput == 0 {
					throughput = other
				}
			}
		}
		if most, ok := n.wishes.Latency[name]; ok {
			judge(ttft > 0, ttft.Seconds() <= most)
		}
		if least, ok := n.wishes.Throughput[name]; ok {
			judge(throughput > 0, throughput >= least)
		}
	}
	return worst
}
