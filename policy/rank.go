package policy

import (
	"cmp"
	"math"
	"time"

	"github.com/shopspring/decimal"

	"github.com/shunt-gateway/shunt/catalog"
)

// entry is an offer among those that may serve, with what it is ranked by.
type entry struct {
	offer     *catalog.Offer
	key       int64 // of the sort criterion, the smaller the better
	place     int32 // where something else than the sort puts it
	penalty   uint8 // what counts before the criterion: behindUsable, behindPriced
	reason    Reason
	cooling   bool
	cacheTies bool
}

const (
	behindPriced = 1 // SEL-5: the price is unknown, and there is a cap
	behindUsable = 2 // SEL-11
)

// comparePlaced orders attempts: usable before cooling (SEL-11), then by place,
// then by the sort.
func comparePlaced(a, b entry) int {
	if a.cooling == b.cooling && a.place != b.place {
		return cmp.Compare(a.place, b.place)
	}
	return compareSorted(&a, &b)
}

// compareSorted is SEL-9: by the criterion, ties by price, then slug.
func compareSorted(a, b *entry) int {
	if n := int(a.penalty) - int(b.penalty); n != 0 {
		return n
	}
	if n := cmp.Compare(a.key, b.key); n != 0 {
		return n
	}
	if n := cmp.Compare(a.offer.PriceRank, b.offer.PriceRank); n != 0 {
		return n
	}
	if a.cacheTies {
		if n := compareCachePrices(a.offer.Price, b.offer.Price); n != 0 {
			return n
		}
	}
	return cmp.Compare(a.offer.Provider.Slug, b.offer.Provider.Slug)
}

// compareCachePrices is CACHE-3: cache write, then read price. Both offers have
// the same rank, so both have a price or neither has.
func compareCachePrices(a, b *catalog.Price) int {
	if a == nil || b == nil {
		return 0
	}
	if n := compare(orPrompt(a.CacheWrite, a), orPrompt(b.CacheWrite, b)); n != 0 {
		return n
	}
	return compare(orPrompt(a.CacheRead, a), orPrompt(b.CacheRead, b))
}

// orPrompt: cached and written tokens without a price of their own cost the
// prompt price (BILL-4).
func orPrompt(d decimal.NullDecimal, p *catalog.Price) decimal.Decimal {
	if d.Valid {
		return d.Decimal
	}
	return p.Prompt
}

// expectedOutput is what `speed` takes an answer to be, in completion tokens: at
// 50 tokens per second it weighs like 10 s of TTFT.
const expectedOutput = 500

// unmeasured ranks last.
const unmeasured = math.MaxInt64

// measure makes o's entry, without a place.
func (d *decider) measure(o *catalog.Offer) entry {
	h := d.snap.health(o)
	e := entry{offer: o, cooling: h.CoolingTill.After(d.now), cacheTies: d.cacheTies}
	if e.cooling {
		e.penalty |= behindUsable
	}
	if d.unpricedLast && o.Price == nil {
		e.penalty |= behindPriced
	}
	ttft, throughput := measured(o, h)
	switch d.sort {
	case catalog.SortPrice:
		e.key = int64(o.PriceRank)
	case catalog.SortThroughput:
		// positive doubles order like their bits
		e.key = unmeasured - int64(math.Float64bits(throughput))
	case catalog.SortSpeed:
		e.key = completion(ttft, throughput)
	default:
		if e.key = int64(ttft); ttft == 0 {
			e.key = unmeasured
		}
	}
	return e
}

// measured returns what is known of an offer's TTFT and throughput, estimates
// standing in for measurements; 0 where nothing is known.
func measured(o *catalog.Offer, h OfferHealth) (ttft time.Duration, throughput float64) {
	ttft, throughput = h.TTFT, h.Throughput
	if ttft <= 0 {
		ttft = max(o.Estimate.TTFT, 0)
	}
	if !(throughput > 0) { // NaN too
		throughput = o.Estimate.Throughput
	}
	if !(throughput > 0) {
		throughput = 0
	}
	return ttft, throughput
}

// completion estimates the time to a whole answer.
func completion(ttft time.Duration, throughput float64) int64 {
	if ttft == 0 || throughput == 0 {
		return unmeasured
	}
	ns := float64(ttft) + expectedOutput/throughput*float64(time.Second)
	if ns >= math.MaxInt64 {
		return unmeasured - 1
	}
	return int64(ns)
}

func (s *Snapshot) health(o *catalog.Offer) OfferHealth {
	if o.Index < len(s.Health) {
		return s.Health[o.Index]
	}
	return OfferHealth{}
}
