package policy_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// TestHealthIsImmutable compares Health with a map, and old ones with what they were.
func TestHealthIsImmutable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h *policy.Health
		known := map[int]policy.OfferHealth{}
		type version struct {
			h     *policy.Health
			known map[int]policy.OfferHealth
		}
		var all []version
		for range rapid.IntRange(1, 8).Draw(t, "versions") {
			changes := map[int]policy.OfferHealth{}
			for range rapid.IntRange(0, 20).Draw(t, "changes") {
				changes[rapid.IntRange(0, 300).Draw(t, "index")] = policy.OfferHealth{TTFT: time.Duration(rapid.IntRange(0, 99).Draw(t, "ttft"))}
			}
			h = h.With(maps.All(changes))
			maps.Copy(known, changes)
			all = append(all, version{h, maps.Clone(known)})
		}
		for _, v := range all {
			for i := -1; i < 400; i++ {
				if *v.h.At(i) != v.known[i] {
					t.Fatalf("offer %d is %+v, want %+v", i, *v.h.At(i), v.known[i])
				}
			}
		}
	})
}

// BenchmarkHealth is the publication of some of 10,000 offers.
//
//	go test ./policy -run XXX -bench Health -benchmem
func BenchmarkHealth(b *testing.B) {
	h := policy.NewHealth(make([]policy.OfferHealth, 10_000))
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("changed=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.With(func(yield func(int, policy.OfferHealth) bool) {
					for i := range n {
						if !yield(i*(10_000/n), policy.OfferHealth{TTFT: 1}) {
							return
						}
					}
				})
			}
		})
	}
}

// checkChance: SEL-16 with a random value; and what it may change is the order.
func checkChance(t *rapid.T, w *world, req *policy.Request, plain *policy.Decision, refused *policy.Error) {
	w.cat.Routing.Health.Explore = 0.5
	snap := &policy.Snapshot{Catalog: w.cat, Health: policy.NewHealth(w.health)}
	for range 4 {
		rnd := rapid.Uint64().Draw(t, "random value")
		dec, err := policy.Decide(req, snap, noon, rnd)
		again, err2 := policy.Decide(req, snap, noon, rnd)
		if !reflect.DeepEqual(dec, again) || !reflect.DeepEqual(err, err2) {
			t.Fatalf("the same inputs gave another decision")
		}
		if (err == nil) != (refused == nil) || len(dec.Attempts) != len(plain.Attempts) || dec.Paygo != plain.Paygo {
			t.Fatalf("by chance %v became %v, %v", chainOf(plain), chainOf(dec), err)
		}
		for i, a := range dec.Attempts {
			if a.Reason != policy.Explored {
				continue
			}
			h := snap.Health.At(a.Offer.Index)
			if i > 0 || dec.Kind != policy.KindDefault || plain.Kind != policy.KindDefault || dec.Sort == catalog.SortPrice {
				t.Fatalf("attempt %d of a decision by %s explores: %v", i, dec.Kind, chainOf(dec))
			}
			if h.CoolingTill.After(noon) || !h.Stale && !h.ProbingTill.After(noon) {
				t.Fatalf("explored is %+v", *h)
			}
		}
	}
}

// field is a catalog of n offers a, b, c … that get slower in this order, all
// measured, and some changed.
func field(t testing.TB, n int, change func(h []policy.OfferHealth)) *policy.Snapshot {
	yaml := "providers:\n"
	offers := ""
	for i := range n {
		slug := string(rune('a' + i))
		yaml += "  " + slug + ": {endpoint: \"http://127.0.0.1:1\"}\n"
		offers += fmt.Sprintf("      - {provider: %s, model: m, caching: true, tools: true, price: {prompt: %d, completion: 1}}\n", slug, n-i)
	}
	c := parse(t, "field.yaml", yaml+"models:\n  m:\n    offers:\n"+offers+"engines: {e: {default_provider: a}}\n")
	h := make([]policy.OfferHealth, n)
	for i := range h {
		h[i] = policy.OfferHealth{TTFT: time.Duration(i+1) * 100 * time.Millisecond, Throughput: float64(100 - i)}
	}
	change(h)
	return &policy.Snapshot{Catalog: c, Health: policy.NewHealth(h)}
}

// first counts who is asked first, and how often it is explored, in n requests with
// different random values.
func first(t testing.TB, snap *policy.Snapshot, in policy.Input, n int) (served map[string]int, explored int) {
	t.Helper()
	if in.Model == nil {
		in.Model = []byte(`"m"`)
	}
	in.Path = "/v1/chat/completions"
	req, refused := policy.Read(&in, snap.Catalog)
	if refused != nil {
		t.Fatal(refused)
	}
	served = map[string]int{}
	for i := range n {
		dec, refused := policy.Decide(req, snap, noon, uint64(i)*0x9e3779b97f4a7c15)
		if refused != nil {
			t.Fatal(refused)
		}
		served[dec.Attempts[0].Offer.Provider.Slug]++
		if dec.Attempts[0].Reason == policy.Explored {
			explored++
		}
		rest := chainOf(dec)
		if slices.Sort(rest); len(slices.Compact(rest)) != len(dec.Attempts) {
			t.Fatalf("twice in a chain: %v", chainOf(dec))
		}
	}
	return served, explored
}

func about(t *testing.T, what string, got, n int, share float64) {
	t.Helper()
	if want := float64(n) * share; float64(got) < 0.8*want-3 || float64(got) > 1.2*want+3 {
		t.Errorf("%s: %d of %d, want about %.1f %%", what, got, n, 100*share)
	}
}

const many = 20_000

// A share of default-routed requests goes to offers that little is known of, each
// of them alike.
func TestExplore(t *testing.T) {
	snap := field(t, 5, func(h []policy.OfferHealth) { h[2].Stale, h[4].Stale = true, true })
	served, explored := first(t, snap, policy.Input{}, many)
	about(t, "explored", explored, many, 0.02)
	about(t, "the third", served["c"], many, 0.01)
	about(t, "the fifth", served["e"], many, 0.01)
	if served["a"]+explored != many {
		t.Errorf("served by %v", served)
	}
	snap.Catalog.Routing.Health.Explore = 0
	if _, explored := first(t, snap, policy.Input{}, many); explored > 0 {
		t.Errorf("%d explored with a share of 0", explored)
	}
}

func TestExploresNever(t *testing.T) {
	stale := func(h []policy.OfferHealth) { h[2].Stale = true }
	for name, in := range map[string]policy.Input{
		"pinned":           {XProvider: []string{"a"}},
		"only":             {Provider: []byte(`{"only":["a","b","c"]}`)},
		"order":            {Provider: []byte(`{"order":["a"]}`)},
		"ignore":           {Provider: []byte(`{"ignore":["b"]}`)},
		"max_price":        {Provider: []byte(`{"max_price":{"prompt":5}}`)},
		"sort":             {Provider: []byte(`{"sort":"latency"}`)},
		"percentiles":      {Provider: []byte(`{"preferred_max_latency":9}`)},
		"no fallbacks":     {Provider: []byte(`{"allow_fallbacks":false}`)},
		"suffix":           {Model: []byte(`"m:latency"`)},
		"tools":            {Model: []byte(`"m:tools"`)},
		"caching":          {Caching: []byte(`true`)},
		"caching, no sort": {Caching: []byte(`true`), Provider: []byte(`{"sort":"auto"}`)},
	} {
		snap := field(t, 3, stale)
		snap.Catalog.Routing.Health.Explore = 0.5
		if _, explored := first(t, snap, in, 500); explored > 0 {
			t.Errorf("%s: %d of 500 explored", name, explored)
		}
	}
	for name, change := range map[string]func(c *catalog.Catalog){
		"the platform's price":     func(c *catalog.Catalog) { c.Routing.Sort = catalog.SortPrice },
		"one attempt":              func(c *catalog.Catalog) { c.Routing.MaxAttempts = 1 },
		"default providers":        func(c *catalog.Catalog) { c.Models[0].DefaultProviders = c.Providers },
		"nothing else to compare":  func(c *catalog.Catalog) { c.Models[0].Offers = c.Models[0].Offers[2:] },
		"a share of nothing (off)": func(c *catalog.Catalog) { c.Routing.Health.Explore = 0 },
	} {
		snap := field(t, 3, stale)
		snap.Catalog.Routing.Health.Explore = 0.5
		change(snap.Catalog)
		if _, explored := first(t, snap, policy.Input{}, 500); explored > 0 {
			t.Errorf("%s: %d of 500 explored", name, explored)
		}
	}
	// All unknown: there is nothing to compare with. Cooling: not now.
	for name, change := range map[string]func(h []policy.OfferHealth){
		"all unknown": func(h []policy.OfferHealth) { h[0].Stale, h[1].Stale, h[2].Stale = true, true, true },
		"cooling":     func(h []policy.OfferHealth) { h[2].Stale, h[2].CoolingTill = true, noon.Add(time.Second) },
	} {
		snap := field(t, 3, change)
		snap.Catalog.Routing.Health.Explore = 0.5
		if _, explored := first(t, snap, policy.Input{}, 500); explored > 0 {
			t.Errorf("%s: %d of 500 explored", name, explored)
		}
	}
}

// An offer that has yet to prove itself is usable to a share of requests of any kind,
// and the first choice of others only when nothing else is left.
func TestProbe(t *testing.T) {
	probing := func(h []policy.OfferHealth) { h[0].Probe, h[0].ProbingTill = 0.1, noon.Add(time.Minute) }
	for name, in := range map[string]policy.Input{
		"default": {},
		"order":   {Provider: []byte(`{"order":["a","b"]}`)},
		"sort":    {Provider: []byte(`{"sort":"latency"}`)},
	} {
		snap := field(t, 3, probing)
		snap.Catalog.Routing.Health.Explore = 0
		served, _ := first(t, snap, in, many)
		about(t, name, served["a"], many, 0.1)
		if served["a"]+served["b"] != many {
			t.Errorf("%s: served by %v", name, served)
		}
	}
	snap := field(t, 3, probing)
	if served, _ := first(t, snap, policy.Input{XProvider: []string{"a"}}, 100); served["a"] != 100 {
		t.Errorf("pinned: served by %v", served)
	}
	// One that ranks low is tried by exploring.
	snap = field(t, 3, func(h []policy.OfferHealth) { h[2].Probe, h[2].ProbingTill = 0.1, noon.Add(time.Minute) })
	served, explored := first(t, snap, policy.Input{}, many)
	about(t, "explored", explored, many, 0.02)
	if served["c"] != explored {
		t.Errorf("served by %v, %d explored", served, explored)
	}
	// The time is over: it is usable like others.
	snap = field(t, 3, func(h []policy.OfferHealth) { h[0].ProbingTill = noon })
	snap.Catalog.Routing.Health.Explore = 0
	if served, _ := first(t, snap, policy.Input{}, 100); served["a"] != 100 {
		t.Errorf("afterwards: served by %v", served)
	}
}
