package policy

import (
	"cmp"
	"math"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/shunt-gateway/shunt/catalog"
)

// entry is an offer among those that may serve, with what it is ranked by. It has
// no pointers: entries are moved about, and each would cost a write barrier.
type entry struct {
	key       int64 // of the sort criterion, the smaller the better
	priceRank int64
	place     uint32 // where something else than the sort puts it; with behindUsable
	offer     uint32 // Offer.Index
	reason    Reason
	unpriced  bool  // SEL-5: its price is unknown, and there is a cap
	verdict   uint8 // on preferred latency and throughput: meets, mayMiss or misses
}

// behindUsable is the bit of place that counts most (SEL-11).
const behindUsable = 1 << 31

func (e *entry) cooling() bool { return e.place&behindUsable != 0 }

// selectFirst moves the first n entries to the front, in order. n is small, so
// most of the others are compared once, with the worst of those.
func (d *decider) selectFirst(entries []entry, n int) {
	if n == 0 {
		return
	}
	for i := 1; i < len(entries); i++ {
		j := min(i, n-1)
		if i >= n {
			if d.comparePlaced(&entries[i], &entries[j]) >= 0 {
				continue
			}
			entries[i], entries[j] = entries[j], entries[i]
		}
		for ; j > 0 && d.comparePlaced(&entries[j], &entries[j-1]) < 0; j-- {
			entries[j], entries[j-1] = entries[j-1], entries[j]
		}
	}
}

func (d *decider) bestOf(entries []entry) *entry {
	best := &entries[0]
	for i := range entries {
		if d.compareSorted(&entries[i], best) < 0 {
			best = &entries[i]
		}
	}
	return best
}

// comparePlaced orders attempts: usable before cooling (SEL-11), then by place,
// then by the sort.
func (d *decider) comparePlaced(a, b *entry) int {
	if a.place != b.place {
		return cmp.Compare(a.place, b.place)
	}
	return d.compareSorted(a, b)
}

// compareSorted is SEL-9: by the criterion, ties by price, then slug. Cooling
// offers come after usable ones (SEL-11), unknown prices after known ones under a
// cap (SEL-5), what misses a preferred latency or throughput after what does not.
func (d *decider) compareSorted(a, b *entry) int {
	switch {
	case a.cooling() != b.cooling():
		return cmp.Compare(a.place&behindUsable, b.place&behindUsable)
	case a.unpriced != b.unpriced && a.unpriced:
		return 1
	case a.unpriced != b.unpriced:
		return -1
	case a.verdict != b.verdict:
		return cmp.Compare(a.verdict, b.verdict)
	case a.key != b.key:
		return cmp.Compare(a.key, b.key)
	case a.priceRank != b.priceRank:
		return cmp.Compare(a.priceRank, b.priceRank)
	}
	oa, ob := d.offers[a.offer], d.offers[b.offer]
	if d.req.Caching {
		if n := compareCachePrices(oa.Price, ob.Price); n != 0 {
			return n
		}
	}
	return strings.Compare(oa.Provider.Slug, ob.Provider.Slug)
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
	h := d.snap.Health.At(o.Index)
	e := entry{offer: uint32(o.Index), priceRank: int64(o.PriceRank), unpriced: d.unpricedLast && o.Price == nil}
	if d.behind(o.Index, h) {
		e.place = behindUsable
	}
	if c := d.req.controls.cutoffs; c != nil {
		e.verdict = c.verdict(o, h)
	}
	ttft, throughput := measured(o, h)
	switch d.sort {
	case catalog.SortPrice:
		e.key = e.priceRank
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
func measured(o *catalog.Offer, h *OfferHealth) (ttft time.Duration, throughput float64) {
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
