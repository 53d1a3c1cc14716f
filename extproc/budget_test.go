package extproc

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

func budgetCatalog(t testing.TB, offers int, routing string) *catalog.Catalog {
	t.Helper()
	var providers, list strings.Builder
	for i := range offers {
		fmt.Fprintf(&providers, "  p%d: {endpoint: \"http://127.0.0.1:1/v1\"}\n", i)
		fmt.Fprintf(&list, "{provider: p%d, model: m}, ", i)
	}
	c, err := catalog.Parse(catalog.Source{Name: "test.yaml", Dir: "/", Data: []byte(
		"providers:\n" + providers.String() + "models: {m: {offers: [" + list.String() + "]}}\nrouting: {" + routing + "}\n")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func decisionOf(offers []*catalog.Offer) *policy.Decision {
	d := &policy.Decision{}
	for _, o := range offers {
		d.Attempts = append(d.Attempts, policy.Attempt{Offer: o})
	}
	return d
}

// grant is how many attempts a request at these offers is given.
func (b *Budget) grant(offers []*catalog.Offer, now time.Time) int {
	d := decisionOf(offers)
	b.Grant(d, now)
	return len(d.Attempts)
}

var epoch = time.Unix(1_700_000_000, 0)

func (b *Budget) fail(n int, now time.Time, offers ...int) {
	for range n {
		for _, i := range offers {
			b.Failed(i, now)
		}
	}
}

func TestBudget(t *testing.T) {
	c := budgetCatalog(t, 3, "retry_budget: {share: 0%, per_second: 0}")
	all := c.Offers()
	t.Run("none", func(t *testing.T) {
		if b := NewBudget(budgetCatalog(t, 1, "sort: price")); b != nil {
			t.Errorf("%+v", b)
		}
	})
	t.Run("nothing is known", func(t *testing.T) {
		if n := NewBudget(c).grant(all, epoch); n != 3 {
			t.Errorf("%d attempts", n)
		}
	})
	t.Run("one is not down", func(t *testing.T) {
		b := NewBudget(c)
		b.fail(100, epoch, 0, 2)
		b.fail(downAfter-1, epoch, 1)
		if n := b.grant(all, epoch); n != 3 || b.Shortened() != 0 {
			t.Errorf("%d attempts", n)
		}
		if n := b.grant([]*catalog.Offer{all[0], all[2]}, epoch); n != 1 || b.Shortened() != 1 {
			t.Errorf("%d attempts at what is down", n)
		}
	})
	t.Run("an answer ends it", func(t *testing.T) {
		b := NewBudget(c)
		b.fail(downAfter, epoch, 0, 1, 2)
		d := decisionOf(all)
		b.Grant(d, epoch)
		if len(d.Attempts) != 1 || len(d.Left) != 2 || d.Left[0].Reason != policy.BeyondRetryBudget || d.Attempts[0].Offer != all[0] {
			t.Errorf("%+v", d)
		}
		b.Answered(1)
		if n := b.grant(all, epoch); n != 3 {
			t.Errorf("%d attempts", n)
		}
	})
	t.Run("so does silence", func(t *testing.T) {
		b := NewBudget(c)
		b.fail(downAfter, epoch, 0, 1, 2)
		b.fail(1, epoch.Add(downFor), 0, 2)
		if n := b.grant(all, epoch.Add(downFor)); n != 3 {
			t.Errorf("%d attempts", n)
		}
	})
	t.Run("offers that are none", func(_ *testing.T) {
		b := NewBudget(c)
		b.fail(1, epoch, -1, 3)
		b.Answered(-1)
		b.Answered(3)
	})
}

// However requests come, the retries in an outage stay within share, rate, and what is
// saved up.
func TestBudgetBound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		share := rapid.IntRange(0, 300).Draw(rt, "percent")
		rate := rapid.IntRange(0, 50).Draw(rt, "per_second")
		length := rapid.IntRange(2, 6).Draw(rt, "chain")
		c := budgetCatalog(t, length, fmt.Sprintf("retry_budget: {share: %d%%, per_second: %d}", share, rate))
		b := NewBudget(c)
		var requests, retries float64
		now := epoch
		for range 300 {
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(rt, "ms")) * time.Millisecond)
			for i := range length {
				b.fail(downAfter, now, i)
			}
			n := b.grant(c.Offers(), now)
			requests, retries = requests+1, retries+float64(n-1)
			saved := max(float64(rate), 5+float64(share)/100) // a second's, or a chain of max_attempts
			if most := float64(share)/100*requests + float64(rate)*(now.Sub(epoch).Seconds()+1) + saved; retries > most+1e-6 {
				rt.Fatalf("%v retries of %v requests in %v, want at most %v", retries, requests, now.Sub(epoch), most)
			}
		}
		if want := float64(share)/100*requests - 15; retries < want*0.9 && share <= 100*(length-1) {
			rt.Fatalf("%v retries of %v requests: %d%% of them were to be had", retries, requests, share)
		}
	})
}

func TestBudgetConcurrently(t *testing.T) {
	c := budgetCatalog(t, 3, "retry_budget: {share: 50%, per_second: 0}")
	b := NewBudget(c)
	b.fail(downAfter, epoch, 0, 1, 2)
	var retries atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				retries.Add(int64(b.grant(c.Offers(), epoch) - 1))
				b.Failed(1, epoch)
			}
		})
	}
	wg.Wait()
	if n := retries.Load(); n > 4000 || n < 3990 {
		t.Errorf("8000 requests made %d retries, want 4000", n)
	}
}

func TestBudgetCostsNothing(t *testing.T) {
	c := budgetCatalog(t, 3, "retry_budget: {}")
	b, d := NewBudget(c), decisionOf(c.Offers())
	b.fail(100, epoch, 0)
	if n := testing.AllocsPerRun(100, func() { b.Grant(d, epoch) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
