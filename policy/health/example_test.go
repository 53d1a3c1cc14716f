package health_test

import (
	"fmt"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/health"
)

// What a program around a Table does: one goroutine feeds it, and takes what changed
// to the Health of a new policy.Snapshot.
func Example() {
	cat, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Dir: "/etc/shunt", Data: []byte(`
providers: {near: {endpoint: "https://near.example"}, far: {endpoint: "https://far.example"}}
models: {m: {offers: [{provider: far, model: m}, {provider: near, model: m}]}}
`)})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	table := health.New(cat, cat.Routing.Health, 42)
	var live *policy.Health // of the snapshot that requests read

	for i := range 40 {
		ev := health.Event{Offer: i % 2, Outcome: health.OutcomeOf("ok"), Status: 200, Stream: true,
			TTFT: time.Duration(900-600*(i%2)) * time.Millisecond, Duration: 4 * time.Second, Tokens: 200}
		table.Apply(&ev, now)
	}
	live = live.With(figures(table.Changes(now)))
	for _, o := range cat.Offers() {
		h := live.At(o.Index)
		fmt.Printf("%s: %.1f s, %.0f tokens/s\n", o.Provider.Slug, h.TTFT.Seconds(), h.Throughput)
	}

	// A reload: state follows provider and upstream model; all of it is published anew.
	table = table.Reload(cat, cat.Routing.Health)
	live = (*policy.Health)(nil).With(figures(table.Changes(now)))
	fmt.Printf("%.1f s\n", live.At(1).TTFT.Seconds())
	// Output:
	// far: 0.9 s, 66 tokens/s
	// near: 0.3 s, 55 tokens/s
	// 0.3 s
}
