package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// wide is a catalog with one model that n providers offer, and a fallback model
// with as many.
func wide(t testing.TB, n int) *policy.Snapshot {
	var b strings.Builder
	b.WriteString("providers:\n")
	for i := range n {
		fmt.Fprintf(&b, "  p%02d: {name: P%d, endpoint: \"http://127.0.0.1:1\"}\n", i, i)
	}
	b.WriteString("models:\n")
	for _, m := range []string{"wide", "other"} {
		fmt.Fprintf(&b, "  %s:\n    offers:\n", m)
		for i := range n {
			fmt.Fprintf(&b, "      - {provider: p%02d, model: m, caching: true, tools: true, parameters: [tools], price: {prompt: %d.%d, completion: %d}, estimate: {ttft: %dms, throughput: %d}}\n",
				i, i*7%13, i%10, i*5%11, 100+i*37%50, 10+i*31%90)
		}
	}
	c := parse(t, "wide.yaml", b.String())
	health := make([]policy.OfferHealth, len(c.Offers()))
	for i := range health {
		health[i] = policy.OfferHealth{TTFT: time.Duration(100+i*17%90) * time.Millisecond, Throughput: float64(20 + i*13%70)}
		if i%9 == 0 {
			health[i].CoolingTill = noon.Add(time.Second)
		}
	}
	return &policy.Snapshot{Catalog: c, Health: policy.NewHealth(health)}
}

// shapes are requests that take different ways through Decide.
var shapes = []struct {
	name, provider string
	model          string
	caching        string
	models         string
}{
	{name: "default", model: "wide"},
	{name: "order", model: "wide", provider: `{"order":["p00","p01","p02"]}`},
	{name: "everything", model: "wide", provider: `{"order":["p00","p01"],"ignore":["p02"],"sort":"speed","max_price":{"prompt":4.25,"completion":9},"require_parameters":true}`},
	{name: "caching", model: "wide:caching"},
	{name: "models", model: "wide", models: `["other"]`},
}

func request(t testing.TB, c *catalog.Catalog, i int) *policy.Request {
	t.Helper()
	s := shapes[i]
	in := &policy.Input{API: catalog.Chat, Path: "/v1/chat/completions", Model: []byte(toJSON(s.model))}
	if s.provider != "" {
		in.Provider = []byte(s.provider)
	}
	if s.models != "" {
		in.Models = []byte(s.models)
	}
	req, err := policy.Read(in, c)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// TestDecideAllocates: at most 10 allocations over 50 offers, and as many over
// 5: they do not grow with the offers.
func TestDecideAllocates(t *testing.T) {
	for i, s := range shapes {
		var counts []float64
		for _, n := range []int{5, 50} {
			snap := wide(t, n)
			req := request(t, snap.Catalog, i)
			counts = append(counts, testing.AllocsPerRun(100, func() {
				if _, err := policy.Decide(req, snap, noon, 0); err != nil {
					t.Fatal(err)
				}
			}))
		}
		if counts[1] > 10 || counts[1] > counts[0] {
			t.Errorf("%s: %v allocations over 5 offers, %v over 50", s.name, counts[0], counts[1])
		}
		t.Logf("%s: %v", s.name, counts)
	}
}

// BenchmarkDecide sweeps the offers of the model.
//
//	go test ./policy -run XXX -bench Decide -benchmem -count 6
func BenchmarkDecide(b *testing.B) {
	for i, s := range shapes {
		for _, n := range []int{1, 5, 50} {
			snap := wide(b, max(n, 3))
			snap.Catalog.Models[0].Offers = snap.Catalog.Models[0].Offers[:n]
			snap.Catalog.Models[1].Offers = snap.Catalog.Models[1].Offers[:n]
			if n == 1 {
				snap.Health = nil
			}
			req := request(b, snap.Catalog, i)
			b.Run(fmt.Sprintf("%s/offers=%d", s.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := policy.Decide(req, snap, noon, 0); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkRead reads a request with every control.
//
//	go test ./policy -run XXX -bench Read -benchmem -count 6
func BenchmarkRead(b *testing.B) {
	snap := wide(b, 50)
	for i, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				request(b, snap.Catalog, i)
			}
		})
	}
}
