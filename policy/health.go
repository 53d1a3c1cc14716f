package policy

import (
	"iter"
	"slices"
	"time"
)

// OfferHealth is what is known of one offer right now. It has the shape of
// health.Figures, so that one converts into the other.
type OfferHealth struct {
	TTFT        time.Duration // what the ranking goes by; 0: not measured
	Throughput  float64       // completion tokens per second, likewise; 0: not measured
	CoolingTill time.Time     // zero: usable
	// Until ProbingTill the offer has yet to prove itself: Probe is the share of
	// requests that take it for usable, to the others it is cooling down.
	Probe       float32
	Stale       bool      // too few recent samples: it is to be explored
	ProbingTill time.Time // zero: proved

	// At p50, p75, p90, p99: what as many of 100 answers were at least as good as.
	// 0: not measured.
	TTFTs       [4]time.Duration
	Throughputs [4]float64
}

// Health is what is known of all offers. It is immutable, and With makes another of
// it that shares what did not change. nil: nothing was measured yet.
type Health struct{ pages []*healthPage }

const pageOffers = 32

type healthPage [pageOffers]OfferHealth

var unknownHealth OfferHealth // never written

// At returns what is known of the offer with this index. It must not be changed.
func (h *Health) At(index int) *OfferHealth {
	if h == nil || index < 0 || index/pageOffers >= len(h.pages) || h.pages[index/pageOffers] == nil {
		return &unknownHealth
	}
	return &h.pages[index/pageOffers][index%pageOffers]
}

// With returns h with changes in it, by Offer.Index. It copies 32 offers for each
// that changed, or for several of the same 32, and one pointer for every 32 offers
// that there are.
func (h *Health) With(changes iter.Seq2[int, OfferHealth]) *Health {
	next := &Health{}
	if h != nil {
		next.pages = slices.Clone(h.pages)
	}
	for index, offer := range changes {
		p := index / pageOffers
		for p >= len(next.pages) {
			next.pages = append(next.pages, nil)
		}
		if next.pages[p] == nil {
			next.pages[p] = new(healthPage)
		} else if h != nil && p < len(h.pages) && next.pages[p] == h.pages[p] {
			page := *h.pages[p]
			next.pages[p] = &page
		}
		next.pages[p][index%pageOffers] = offer
	}
	return next
}

// NewHealth returns a Health of a list in the order of Offer.Index.
func NewHealth(offers []OfferHealth) *Health { return (*Health)(nil).With(slices.All(offers)) }
