package e2e

import (
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

// shifting is a window as short as can be, so that a test sees changes followed that
// take minutes with the default.
const shifting = "window: 10s, min_samples: 3, explore: 50%"

// SEL-9: who slows down loses the requests that go by latency, throughput or speed, and
// gets them back when it is fast again: others' figures are new, and its own are, because
// some requests explore.
func TestTrafficFollowsFigures(t *testing.T) {
	t.Parallel()
	health := shifting
	if longer() {
		health = "window: 60s, explore: 10%"
	}
	w := newWard(t, wardOptions{Models: "latency throughput", Health: health})
	slow := demo.Duration(200 * time.Millisecond)
	for model, bs := range map[string]struct{ middling, slow demo.Behaviour }{
		"latency": {demo.Behaviour{TTFT: slow}, demo.Behaviour{TTFT: 6 * slow}},
		"throughput": {
			demo.Behaviour{Tokens: 20, ChunkGap: slow / 10}, demo.Behaviour{Tokens: 20, ChunkGap: slow / 2},
		},
	} {
		t.Run("SEL-9 "+model, func(t *testing.T) {
			t.Parallel()
			w := &ward{Shunt: w.Shunt, t: t, providers: w.providers}
			sorted := `,"provider":{"sort":"` + model + `"}`
			w.behave(0, model, demo.Behaviour{Tokens: 20, ChunkGap: demo.Duration(time.Millisecond)})
			w.behave(1, model, bs.middling)
			stop := w.traffic(4, model, stream)
			w.first("the fast one is", "p0", model, sorted)
			w.behave(0, model, bs.slow)
			w.first("the slow one loses its requests", "p1", model, sorted)
			w.first("also those that select nothing but a suffix", "p1", model+":"+model, "")
			w.behave(0, model, demo.Behaviour{Tokens: 20, ChunkGap: demo.Duration(time.Millisecond)})
			w.first("it gets them back", "p0", model, sorted)
			stop()
			w.grounded()
		})
	}
}

// Preferred percentiles are held against what was measured: who misses them is asked
// after the others, and asked all the same.
func TestPreferredPercentiles(t *testing.T) {
	t.Parallel()
	w := newWard(t, wardOptions{Models: "m", Health: shifting})
	const byPrice = `,"max_tokens":1,"provider":{"sort":"price","preferred_`
	fast := demo.Behaviour{Tokens: 20, ChunkGap: demo.Duration(time.Millisecond)}
	slow := demo.Behaviour{Tokens: 20, TTFT: demo.Duration(600 * time.Millisecond), ChunkGap: demo.Duration(50 * time.Millisecond)}
	w.behave(0, "m", slow) // the cheap one
	w.behave(1, "m", fast)
	w.traffic(4, "m", stream)
	for _, limit := range []string{
		`max_latency":0.3}`, `max_latency":{"p50":0.3}}`, `max_latency":{"p75":0.3,"p99":60}}`, `min_throughput":60}`, `min_throughput":{"p50":60}}`,
		`max_latency":{"p50":0.3},"preferred_min_throughput":{"p50":60}}`,
	} {
		w.first("the cheap one misses "+limit, "p1", "m", byPrice+limit)
	}
	for _, limit := range []string{
		`max_latency":60}`, `max_latency":{"p50":60,"p75":60,"p90":60,"p99":60}}`, `min_throughput":0}`, `min_throughput":{"p99":1}}`,
		`max_latency":{}}`, `max_latency":0}`, `min_throughput":1e9}`, // both miss these
	} {
		w.first("the cheap one meets as much of "+limit, "p0", "m", byPrice+limit)
	}
	// SEL-11: deprioritised, never excluded: neither alone, nor when the other fails.
	w.chat("m", `,"provider":{"only":["p0"],"preferred_max_latency":0.001}`).want(t, 200, "p0", 1)
	w.chat("m", `,"provider":{"order":["p0"],"allow_fallbacks":false,"preferred_max_latency":0.001}`).want(t, 200, "p0", 1)
	w.behave(1, "m", failing(500))
	harness.Eventually(t, "who misses is asked when the other fails", func() error {
		if a := w.chat("m", byPrice+`max_latency":0.3}`); a.Status != 200 || a.Provider() != "p0" {
			return errOr(a.Err, a.Provider())
		}
		return nil
	})
}

// REQ-6: wrong shapes of preferences are refused, and named.
func TestPreferredShapes(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"preferred_max_latency", "preferred_min_throughput"} {
		for value, param := range map[string]string{
			`"1"`: "", `-1`: "", `true`: "", `null`: "", `[1]`: "", `-0.001`: "", `{"p50":-1}`: ".p50", `{"p50":"1"}`: ".p50", `{"p75":null}`: ".p75",
			`{"p90":{}}`: ".p90", `{"p99":[]}`: ".p99", `{"p95":1}`: ".p95", `{"P50":1}`: ".P50", `{"p50":1,"p60":2}`: ".p60",
		} {
			t.Run("REQ-6 "+field+" "+value, func(t *testing.T) {
				t.Parallel()
				p := newProbe(t)
				p.chat(`,"provider":{"`+field+`":`+value+`}`).wantError(t, 400, "invalid_provider_object", "provider."+field+param)
			})
		}
		for _, value := range []string{`0`, `1`, `0.5`, `1e3`, `{}`, `{"p50":0}`, `{"p50":1,"p75":2,"p90":3,"p99":4}`} {
			t.Run("REQ-6 "+field+" "+value, func(t *testing.T) {
				t.Parallel()
				p := newProbe(t)
				p.chat(`,"provider":{"`+field+`":`+value+`}`).want(t, 200, "p0", 1)
			})
		}
	}
}
