package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/test/harness"
)

// burst sends requests from several clients at a time.
func (p *probe) burst(n int, each func(answer)) {
	p.t.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				each(p.chat(""))
			}
		})
	}
	wg.Wait()
}

func (p *probe) attempts() (n int) {
	for _, f := range p.fakes {
		n += len(p.seen(f.slug))
	}
	return n
}

// routing.retry_budget: when nobody answers, requests do not multiply.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{Models: 4, Routing: "retry_budget: {share: 20%, per_second: 2}",
		Harness: harness.Options{Fast: true}})
	t.Run("nobody answers", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.fail(503)
		harness.Eventually(t, "the outage is known", func() error {
			if a := p.chat(""); a.Attempts() != "1" {
				return fmt.Errorf("%s attempts", a.Attempts())
			}
			return nil
		})
		begin, before, told := time.Now(), p.attempts(), atomic.Int64{}
		const requests = 500
		p.burst(requests, func(a answer) {
			if a.Status != 503 {
				t.Errorf("got %d\n%s", a.Status, a.Body)
			}
			n, _ := strconv.Atoi(a.Attempts())
			told.Add(int64(n))
		})
		made := p.attempts() - before
		// 5 retries are what is saved up at most: a chain of max_attempts.
		if most := requests*1.2 + 2*time.Since(begin).Seconds() + 5; float64(made) > most || made < requests {
			t.Errorf("%d requests made %d attempts, want at most %.0f", requests, made, most)
		}
		if int64(made) != told.Load() {
			t.Errorf("FALL-4: the clients were told of %d attempts, the providers saw %d", told.Load(), made)
		}
		if len(p.seen("p3")) < 10 {
			t.Errorf("p3 was asked %d times: nobody would find out that it is back", len(p.seen("p3")))
		}
		p.on("p3", reply(200, "application/json", "{}"))
		harness.Eventually(t, "everybody goes on to p3", func() error {
			for range 20 {
				if a := p.chat(""); a.Status != 200 {
					return fmt.Errorf("%d after %s attempts", a.Status, a.Attempts())
				}
			}
			return nil
		})
	})
	t.Run("one answers", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.fail(503, "p2")
		p.burst(100, func(a answer) { a.want(t, 200, "p2", 3) })
	})
	t.Run("another model's outage", func(t *testing.T) {
		t.Parallel()
		p, other := l.probe(t), l.probe(t)
		p.fail(503, "p1")
		other.fail(429)
		for range 40 {
			other.chat("")
			p.chat("").want(t, 200, "p1", 2)
		}
	})
}

// FALL-3: where all offers cool down, a 429 says when the first of them can be asked.
func TestRetryAfterOfAll(t *testing.T) {
	t.Parallel()
	const slow = 429
	wait := func(a answer) int {
		n, err := strconv.Atoi(a.Header.Get("retry-after"))
		if err != nil {
			return -1
		}
		return n
	}
	eventually := func(t *testing.T, p *probe, more, last string, from, to int) (a answer) {
		t.Helper()
		harness.Eventually(t, "retry-after tells of all", func() error {
			a = p.chat(more)
			if n := wait(a); a.Status != slow || a.Provider() != last || n < from || n > to {
				return fmt.Errorf("got %d from %s, retry-after %q, want %d to %d from %s", a.Status, a.Provider(), a.Header.Get("retry-after"), from, to, last)
			}
			return nil
		})
		return a
	}
	t.Run("the earliest of them", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		for slug, after := range map[string]string{"p0": "290", "p1": "170", "p2": "250", "p3": "280"} {
			p.on(slug, status(slow, "retry-after", after, "retry-after-ms", after+"000"))
		}
		if a := p.chat(""); wait(a) != 280 || a.Header.Get("retry-after-ms") != "280000" {
			t.Errorf("with nothing known it is the last one's own, not %v", a.Header)
		}
		a := eventually(t, p, "", "p3", 1, 170)
		a.want(t, slow, "p3", 4)
		if a.Header.Get("retry-after-ms") != "" || a.Body != `{"error":{"message":"no 429","type":"t","param":null,"code":"c429"}}` {
			t.Errorf("the client saw %v\n%s", a.Header, a.Body)
		}
	})
	t.Run("the last one's own, where it is the earliest", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		for slug, after := range map[string]string{"p0": "290", "p1": "270", "p2": "250", "p3": "130"} {
			p.on(slug, status(slow, "retry-after", after))
		}
		p.chat("")
		eventually(t, p, "", "p3", 130, 130)
	})
	t.Run("one that says nothing", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		p.on("p1", status(slow, "retry-after", "200"))
		p.chat(`,"provider":"p1"`)
		p.on("p1", status(slow))
		eventually(t, p, `,"provider":"p1"`, "p1", 1, 200)
	})
	t.Run("one that says milliseconds", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		for slug, after := range map[string]string{"p0": "290", "p1": "270", "p2": "250", "p3": "130"} {
			p.on(slug, status(slow, "retry-after-ms", after+"000"))
		}
		p.chat("")
		eventually(t, p, `,"provider":{"only":["p2","p3"],"order":["p3","p2"]}`, "p2", 1, 130)
		if a := p.chat(""); a.Header.Get("retry-after-ms") != "130000" || a.Header.Get("retry-after") != "" {
			t.Errorf("the earliest is the last one's own, the client saw %v", a.Header)
		}
	})
	t.Run("one that says nonsense", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		p.on("p1", status(slow, "retry-after", "200"))
		p.chat(`,"provider":"p1"`)
		for _, nonsense := range []string{"nan", "-7"} {
			p.on("p1", status(slow, "retry-after", nonsense))
			eventually(t, p, `,"provider":"p1"`, "p1", 1, 200)
		}
	})
	t.Run("one that says a date", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		at := time.Now().Add(200 * time.Second).UTC().Format(http.TimeFormat)
		p.on("p1", status(slow, "retry-after", at))
		if a := p.chat(`,"provider":"p1"`); a.Header.Get("retry-after") != at {
			t.Errorf("with nothing known it is its own, not %v", a.Header)
		}
		eventually(t, p, `,"provider":"p1"`, "p1", 1, 200)
	})
	t.Run("not where one is usable", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		for _, f := range p.fakes {
			p.on(f.slug, status(slow, "retry-after", "60"))
		}
		p.on("p3", status(slow)) // does not cool down
		for range 5 {
			if a := p.chat(""); a.Status != slow {
				t.Errorf("got %d", a.Status)
			}
		}
		harness.Eventually(t, "p3 goes first", func() error {
			seen := len(p.seen("p3"))
			if a := p.chat(""); len(p.seen("p3")) != seen+1 || a.Status != slow {
				return fmt.Errorf("got %d", a.Status)
			}
			return nil
		})
	})
}
