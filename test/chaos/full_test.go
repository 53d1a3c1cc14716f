package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
)

// tiny is an outbox that a few hundred requests fill.
const tiny = "settle_timeout: 10m, outbox: {max_bytes: 1MiB, on_full: %s}"

// A sink is down and the outbox full, on_full: block: new requests are refused in the
// API's shape, and when the sink is back it gets every event of those that were not.
func TestFullBlocks(t *testing.T) {
	p, r := newProvider(t), newReceiver(t, http.StatusServiceUnavailable)
	s := start(t, t.TempDir(), p.config("sinks: ["+r.sink()+"], "+fmt.Sprintf(tiny, "block")))
	stop := load(s)
	wantMetric(t, s, "shunt_billing_refused_total", func(v float64) bool { return v >= 1 })
	wantMetric(t, s, "shunt_sink_failing", exactly(1))
	harness.Eventually(t, "a refusal", func() error { return refusedAsFull(s) })
	r.say(http.StatusNoContent)
	harness.Eventually(t, "requests are admitted again", func() error {
		if _, status := chat(s, body); status != http.StatusOK {
			return fmt.Errorf("status %d", status)
		}
		return nil
	})
	admitted := answered(stop())
	harness.Eventually(t, "every event", func() error {
		got := r.counts()
		for id := range admitted {
			if got[id] == 0 {
				return fmt.Errorf("%s has none; %d have one", id, len(got))
			}
		}
		return nil
	})
	for id, n := range r.counts() {
		if n != 1 {
			t.Errorf("the event of %s came %d times", id, n)
		}
	}
	wantMetric(t, s, "shunt_sink_failing", exactly(0))
	wantMetric(t, s, "shunt_billing_dropped_total", exactly(0))
}

// refusedAsFull wants 503 overloaded with retry-after (API-6, SEC-4).
func refusedAsFull(s *harness.Shunt) error {
	resp, err := http.Post(s.URL+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Error struct{ Message, Type, Code string }
	}
	if resp.StatusCode != http.StatusServiceUnavailable || json.Unmarshal(text, &answer) != nil || answer.Error.Code != "overloaded" ||
		answer.Error.Message == "" || answer.Error.Type == "" || resp.Header.Get("retry-after") == "" || resp.Header.Get("x-request-id") == "" {
		return fmt.Errorf("%d %v %s", resp.StatusCode, resp.Header, text)
	}
	return nil
}

// The same with on_full: drop_oldest: every request is served, and every event is
// delivered or named as lost.
func TestFullDropsTheOldest(t *testing.T) {
	p, r := newProvider(t), newReceiver(t, http.StatusServiceUnavailable)
	s := start(t, t.TempDir(), p.config("sinks: ["+r.sink()+"], "+fmt.Sprintf(tiny, "drop_oldest")))
	stop := load(s)
	wantMetric(t, s, "shunt_billing_dropped_total", func(v float64) bool { return v >= 1 })
	seen := stop()
	r.say(http.StatusNoContent)
	for id, status := range seen {
		if status != http.StatusOK {
			t.Errorf("%s was answered %d", id, status)
		}
	}
	var gone map[string]bool
	harness.Eventually(t, "every event is delivered or lost", func() error {
		gone = lost(s)
		got, missing := r.counts(), 0
		for id := range seen {
			if got[id] == 0 && !gone[id] {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d; %d are delivered, %d lost", missing, len(seen), len(got), len(gone))
		}
		return nil
	})
	wantMetric(t, s, "shunt_billing_backlog", exactly(0))
	wantMetric(t, s, "shunt_billing_dropped_total", exactly(len(lost(s))))
	both := 0
	for id, n := range r.counts() {
		if _, ok := seen[id]; !ok || n != 1 {
			t.Errorf("the event of %s came %d times", id, n)
		}
		if gone[id] {
			both++
		}
	}
	// What the sink had in hand while it was given up may have arrived all the same.
	if got := len(r.counts()) + len(gone) - both; got != len(seen) || both > 256 {
		t.Errorf("%d delivered, %d lost, %d of them both; %d were admitted", len(r.counts()), len(gone), both, len(seen))
	}
	t.Logf("%d admitted: %d delivered, %d lost, %d both", len(seen), len(r.counts()), len(gone), both)
}
