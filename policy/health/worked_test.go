package health_test

import (
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/health"
)

// shop is the worked example of docs/health.md: offer 0 is near, 1 is far.
type shop struct {
	t     *testing.T
	table *health.Table
	snap  *policy.Snapshot
	now   time.Time
}

func openShop(t *testing.T) *shop {
	cat, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Dir: "/etc/shunt", Data: []byte(`
providers: {near: {endpoint: "https://near.example"}, far: {endpoint: "https://far.example"}}
models:
  m:
    offers:
      - {provider: near, model: m, estimate: {ttft: 300ms}}
      - {provider: far, model: m, estimate: {ttft: 200ms}}
`)})
	if err != nil {
		t.Fatal(err)
	}
	return &shop{t, health.New(cat, cat.Routing.Health, 1), &policy.Snapshot{Catalog: cat}, noon}
}

func (s *shop) ends(n int, offer int, ev health.Event) {
	ev.Offer = offer
	for range n {
		s.table.Apply(&ev, s.now)
	}
}

func answer(ttft time.Duration) health.Event {
	return health.Event{Outcome: health.OK, Status: 200, Stream: true, TTFT: ttft, Duration: ttft + 2*sec, Tokens: 100}
}

// first expects a provider to be asked first, as `shunt explain` would tell.
func (s *shop) first(want, provider string) {
	s.t.Helper()
	s.snap = &policy.Snapshot{Catalog: s.snap.Catalog, Health: s.snap.Health.With(figures(s.table.Changes(s.now)))}
	in := &policy.Input{API: catalog.Chat, Path: "/v1/chat/completions", Model: []byte(`"m"`)}
	if provider != "" {
		in.Provider = []byte(provider)
	}
	req, refused := policy.Read(in, s.snap.Catalog)
	if refused != nil {
		s.t.Fatal(refused)
	}
	d, refused := policy.Decide(req, s.snap, s.now, 0)
	if refused != nil {
		s.t.Fatal(refused)
	}
	if got := d.Attempts[0].Offer.Provider.Slug; got != want || len(d.Attempts) != 2 {
		s.t.Errorf("%d attempts, %s first, want %s", len(d.Attempts), got, want)
	}
}

// TestWorkedExample is the one in docs/health.md, step by step.
func TestWorkedExample(t *testing.T) {
	s := openShop(t)
	s.first("far", "")
	s.ends(10, 1, answer(900*ms))
	s.first("near", "")
	s.ends(7, 0, answer(310*ms))
	s.ends(3, 0, answer(480*ms))
	s.first("near", "")

	s.ends(1, 0, health.Event{Outcome: health.Status, Status: 429, RetryAfter: 7 * sec})
	s.first("far", "")
	s.now = s.now.Add(7 * sec)
	s.first("near", "")

	s.ends(4, 0, refused)
	s.ends(1, 1, answer(900*ms))
	s.first("near", "")
	s.now = s.now.Add(2 * sec)
	s.ends(1, 0, refused)
	for _, cooldown := range []time.Duration{10 * sec, 20 * sec, 40 * sec} {
		s.first("far", "")
		s.now = s.now.Add(cooldown - 1)
		if s.table.Stats(0, s.now).Phase != health.Cooling {
			t.Errorf("near does not cool down for %v", cooldown)
		}
		s.now = s.now.Add(1)
		if s.table.Stats(0, s.now).Phase != health.Probing {
			t.Errorf("near cools down for more than %v", cooldown)
		}
		s.first("far", "")
		s.ends(1, 0, refused)
	}
	s.now = s.now.Add(80 * sec)
	s.ends(2, 0, answer(310*ms))
	s.first("far", "")
	s.ends(1, 0, answer(310*ms))
	s.first("near", "")

	s.ends(3, 0, answer(480*ms))
	s.first("near", `{"preferred_max_latency": {"p90": 0.45}}`)
	s.ends(200, 1, answer(440*ms))
	s.first("far", `{"preferred_max_latency": {"p90": 0.45}}`)
	s.first("near", "")
}
