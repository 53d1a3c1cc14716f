package extproc

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// Budget keeps a general outage from multiplying the load (routing.retry_budget). An
// offer whose last attempts all failed is down; a request whose chain has nothing but
// such offers in it gets a second attempt out of the budget, or none. Where one offer
// is not known to be down, chains are left alone.
//
// It is fed as soon as something is known: of a failed attempt when the next one
// begins, of the last attempt of a request when Envoy reports its end. All methods are
// safe for concurrent use, and lock nothing.
type Budget struct {
	catalog *catalog.Catalog
	offers  []pulse // by Offer.Index
	share   int64   // what a request adds, in millionths of a retry
	rate    int64   // and a second
	most    int64   // what is saved up at most

	tokens    atomic.Int64 // retries that may be made, in millionths
	filled    atomic.Int64 // until when rate has been added, in ns since 1970
	shortened atomic.Uint64
}

// pulse is what the last attempts at an offer came to.
type pulse struct {
	failed atomic.Int32 // in a row
	at     atomic.Int64 // the last of them, in ns since 1970
}

const (
	downAfter = 5                // failures in a row
	downFor   = 10 * time.Second // since the last of them: then nobody knows
	retry     = 1_000_000        // in tokens
)

// NewBudget returns the budget for a catalog of which nothing is known; nil where it has
// none. What is saved up at most is one chain, so that a small share is worth
// something, or the retries of a second.
func NewBudget(c *catalog.Catalog) *Budget {
	if c.Routing.RetryBudget == nil {
		return nil
	}
	rate, share := int64(c.Routing.RetryBudget.PerSecond)*retry, int64(math.Round(c.Routing.RetryBudget.Share*retry))
	return &Budget{
		catalog: c, offers: make([]pulse, len(c.Offers())),
		share: share, rate: rate,
		most: max(rate, int64(c.Routing.MaxAttempts-1)*retry+share),
	}
}

// Shortened is how many requests were given one attempt only.
func (b *Budget) Shortened() uint64 { return b.shortened.Load() }

// Failed takes an attempt after which a request goes on to the next offer, or would.
// An index that is none is passed over.
func (b *Budget) Failed(offer int, now time.Time) {
	if offer < 0 || offer >= len(b.offers) {
		return
	}
	p := &b.offers[offer]
	if p.failed.Load() < downAfter {
		p.failed.Add(1)
	}
	p.at.Store(now.UnixNano())
}

// Answered takes an attempt that was answered, if only to say that the client is wrong.
func (b *Budget) Answered(offer int) {
	if offer < 0 || offer >= len(b.offers) {
		return
	}
	if p := &b.offers[offer]; p.failed.Load() != 0 {
		p.failed.Store(0)
	}
}

func (b *Budget) down(offer int, now int64) bool {
	p := &b.offers[offer]
	return p.failed.Load() >= downAfter && now-p.at.Load() < int64(downFor)
}

// Grant shortens a decision to one attempt if a general outage has used the budget up.
func (b *Budget) Grant(d *policy.Decision, now time.Time) {
	at := now.UnixNano()
	for i := range d.Attempts {
		if !b.down(d.Attempts[i].Offer.Index, at) {
			return
		}
	}
	if n := len(d.Attempts) - 1; n > 0 && !b.take(int64(n)*retry, at) {
		d.Shorten(1, policy.BeyondRetryBudget)
		b.shortened.Add(1)
	}
}

// take adds what a request and the time since the last one bring, and takes n if there
// is as much.
func (b *Budget) take(n, now int64) bool {
	more := b.share
	if last := b.filled.Load(); now > last && b.filled.CompareAndSwap(last, now) {
		more += int64(float64(b.rate) * min(time.Duration(now-last).Seconds(), 1))
	}
	for {
		have := b.tokens.Load()
		left := min(have+more, b.most)
		ok := left >= n
		if ok {
			left -= n
		}
		if b.tokens.CompareAndSwap(have, left) {
			return ok
		}
	}
}
