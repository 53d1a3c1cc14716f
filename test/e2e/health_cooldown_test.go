package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

// A provider that stops answering costs the first requests a first-byte timeout each:
// five, if they come one after the other. Then it is left alone.
func TestHungProvider(t *testing.T) {
	t.Parallel()
	w := newWard(t, wardOptions{Models: "m", Health: "explore: 0%, cooldown: 2m", First: ", timeout: {first_byte: 3s}"})
	w.behave(0, "m", demo.Behaviour{Fault: demo.FaultHang})
	for n := range 5 {
		w.chat("m", "").want(t, 200, "p1", 2)
		harness.Eventually(t, "the timeout is heard of", func() error {
			if got := w.metric("shunt_attempts_total", `provider="p0"`, `outcome="timeout"`); got != float64(n+1) {
				return fmt.Errorf("%v timeouts, want %d", got, n+1)
			}
			return nil
		})
	}
	harness.Eventually(t, "p0 cools down", func() error {
		if w.metric("shunt_cooldowns_total", `provider="p0"`) != 1 {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	for range 20 {
		w.chat("m", "").want(t, 200, "p1", 1)
	}
	if n := w.asked(0, "m"); n != 5 {
		t.Errorf("p0 was asked %d times, want five", n)
	}
	w.grounded()
}

// After a cooldown one request tries the offer, however many come at the same time
// and whatever the share of probes; the others wait for what becomes of it.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	w := newWard(t, wardOptions{Models: "m", Health: "explore: 0%, cooldown: 1s, max_cooldown: 1s, probe: 100%, probe_successes: 1", Each: ", timeout: {first_byte: 1m}"})
	w.behave(0, "m", failing(500))
	harness.Eventually(t, "p0 cools down", func() error {
		w.chat("m", "")
		if w.metric("shunt_cooldowns_total", `provider="p0"`) == 0 {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	w.behave(0, "m", demo.Behaviour{Fault: demo.FaultHang})
	w.providers[0].ForgetRequests()
	ctx, cancel := context.WithCancel(t.Context())
	probe := w.request("m", "").WithContext(ctx)
	var wg sync.WaitGroup
	var open atomic.Int64
	burst := func() { // all but the one that may hang are answered when it returns
		const size = 20
		answered := make(chan struct{}, size)
		for range size {
			req := probe.Clone(ctx)
			req.Body, _ = probe.GetBody()
			open.Add(1)
			wg.Go(func() {
				defer open.Add(-1)
				if resp, err := client.Do(req); err == nil {
					_ = resp.Body.Close()
				}
				answered <- struct{}{}
			})
		}
		for range size - 1 {
			<-answered
		}
	}
	harness.Eventually(t, "the cooldown is over, and a request tries p0", func() error {
		burst()
		if n := w.asked(0, "m"); n != 1 {
			return fmt.Errorf("%d do", n)
		}
		return nil
	})
	for range 3 {
		burst()
	}
	if n := w.asked(0, "m"); n != 1 {
		t.Errorf("%d requests try p0 at one time, want 1", n)
	}
	harness.Eventually(t, "all others are answered", func() error {
		if n := open.Load(); n != 1 {
			return fmt.Errorf("%d are not", n)
		}
		return nil
	})
	cancel()
	wg.Wait()
	w.grounded()
}

// What the client did wrong and clients that leave never cool an offer down; its key,
// its credit and its failures do.
func TestWhatCools(t *testing.T) {
	t.Parallel()
	innocent := []string{"s400", "s413", "s422", "early", "midway"}
	guilty := []string{"s401", "s402", "s403", "s404", "s408", "s500", "s503", "reset"}
	w := newWard(t, wardOptions{Models: strings.Join(append(innocent, guilty...), " "), Health: "explore: 0%, cooldown: 2m, refusal_cooldown: 2m"})
	for _, model := range append(innocent, guilty...) {
		if code, err := strconv.Atoi(strings.TrimPrefix(model, "s")); err == nil {
			w.behave(0, model, failing(code))
		}
	}
	w.behave(0, "early", demo.Behaviour{Fault: demo.FaultHang})
	w.behave(0, "midway", demo.Behaviour{Tokens: 3, ChunkGap: demo.Duration(time.Minute)})
	w.behave(0, "reset", demo.Behaviour{Fault: demo.FaultReset})

	rounds, left := 0, map[string]bool{}
	harness.Eventually(t, "those whose fault it is are left alone", func() error {
		w.misbehave("early", "midway")
		for _, model := range []string{"s400", "s413", "s422"} {
			w.chat(model, "")
		}
		for _, model := range guilty {
			if a := w.chat(model, ""); a.Provider() == "p1" && a.Attempts() == "1" {
				left[model] = true
			}
		}
		if rounds++; len(left) < len(guilty) || rounds < 6 {
			return fmt.Errorf("%d of %d are, after %d rounds: %v", len(left), len(guilty), rounds, left)
		}
		return nil
	})
	// As many requests, over the same time, that say nothing of the provider.
	for _, model := range innocent {
		w.behave(0, model, demo.Behaviour{})
		w.chat(model, "").want(t, 200, "p0", 1)
	}
	if n := w.metric("shunt_cooldowns_total"); n != float64(len(guilty)) {
		t.Errorf("%v cooldowns, want %d", n, len(guilty))
	}
	w.grounded()
}

// misbehave sends a request that leaves before there is an answer, and one that
// leaves in the middle of it.
func (w *ward) misbehave(early, midway string) {
	w.t.Helper()
	before := w.asked(0, early)
	req := w.request(early, stream)
	ctx, cancel := contextWithCancel(req)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := client.Do(req.WithContext(ctx)); err == nil {
			_ = resp.Body.Close()
		}
	}()
	harness.Eventually(w.t, "the provider is asked", func() error {
		if w.asked(0, early) == before {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	cancel()
	<-done
	resp, leave := begin(w.t, w.request(midway, stream)) //nolint:bodyclose // begin closes it
	if err := readUntil(resp.Body, "data:"); err != nil || resp.StatusCode != http.StatusOK {
		w.t.Errorf("%d, %v", resp.StatusCode, err)
	}
	leave()
}

// When nobody can be reached it is our own network: nobody is left alone for it, so
// all are asked again, in their order, as soon as it is back.
func TestOwnNetwork(t *testing.T) {
	t.Parallel()
	w := newWard(t, wardOptions{Providers: 3, Models: "m n", Health: "explore: 0%, cooldown: 2m", Each: ", timeout: {first_byte: 2s}"})
	for p := range w.providers {
		w.behave(p, "m", demo.Behaviour{Fault: demo.FaultHang})
		w.behave(p, "n", demo.Behaviour{Fault: demo.FaultHang})
	}
	for range 3 { // of 2 s for each of three: longer than it takes to cool one down
		var wg sync.WaitGroup
		for i := range 6 {
			req := w.request([]string{"m", "n"}[i%2], "")
			wg.Go(func() {
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusBadGateway || resp.Header.Get("x-attempts") != "3" {
					t.Errorf("%d after %s attempts", resp.StatusCode, resp.Header.Get("x-attempts"))
				}
			})
		}
		wg.Wait()
	}
	harness.Eventually(t, "all timeouts are heard of", func() error {
		if n := w.metric("shunt_attempts_total", `outcome="timeout"`); n != 3*3*6 {
			return fmt.Errorf("%v are", n)
		}
		return nil
	})
	for p := range w.providers {
		w.behave(p, "m", demo.Behaviour{})
	}
	w.providers[0].ForgetRequests()
	for range 3 {
		if a := w.chat("m", ""); a.Status != http.StatusOK {
			t.Errorf("it is back: %d", a.Status)
		}
	}
	harness.Eventually(t, "p0 is asked first", func() error {
		if n := w.asked(0, "m"); n != 3 {
			return fmt.Errorf("by %d of 3 requests", n)
		}
		return nil
	})
	if n := w.metric("shunt_cooldowns_total"); n != 0 {
		t.Errorf("%v cooldowns, want none", n)
	}
	w.grounded()
}
