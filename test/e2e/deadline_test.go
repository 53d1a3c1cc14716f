package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

// after answers with h, when so much time is over or the client has gone.
func after(wait time.Duration, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			h(w, r)
		case <-r.Context().Done():
		}
	}
}

// routing.deadline: all attempts together, to the first byte.
func TestDeadline(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{Models: 20, Routing: "deadline: 6s"})
	for _, tc := range []struct {
		name, headers string
		p0            http.HandlerFunc
		least         time.Duration
		attempts      string
		outcomes      string
	}{
		{"cuts the attempt that is running", "", status(503), 5900 * time.Millisecond, "2", "p0 status 503, p1 timeout 0"},
		{"cuts the first", "", hang, 5900 * time.Millisecond, "1", "p0 timeout 0"},
		{"is shortened by the client", "2s", hang, 1900 * time.Millisecond, "1", "p0 timeout 0"},
		{"is not lengthened by the client", "1h", hang, 5900 * time.Millisecond, "1", "p0 timeout 0"},
		{"counts what refusals took", "", after(2*time.Second, status(503)), 5900 * time.Millisecond, "2", "p0 status 503, p1 timeout 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := l.probe(t)
			for _, f := range p.fakes {
				p.on(f.slug, hang)
			}
			p.on("p0", tc.p0)
			var headers []string
			if tc.headers != "" {
				headers = []string{"X-Request-Timeout", tc.headers}
			}
			begin := time.Now()
			a := p.chat("", headers...)
			a.wantError(t, 504, "deadline_exceeded", "")
			if took := time.Since(begin); took < tc.least || a.Attempts() != tc.attempts {
				t.Errorf("it took %v and %s attempts, want %v and %s", took, a.Attempts(), tc.least, tc.attempts)
			}
			if e := p.event(a); outcomes(e) != tc.outcomes || e.Data.Status != "failed" || e.Data.Amount != "0" {
				t.Errorf("the event says %s, %s, %q, want %q", e.Data.Status, e.Data.Amount, outcomes(e), tc.outcomes)
			}
			for i, f := range p.fakes {
				if n := len(p.seen(f.slug)); (n == 1) != (string(rune('0'+i)) < tc.attempts) {
					t.Errorf("%s got %d requests", f.slug, n)
				}
			}
		})
	}
	t.Run("is no number", func(t *testing.T) {
		t.Parallel()
		l.probe(t).chat("", "X-Request-Timeout", "5").wantError(t, 400, "invalid_parameter", "X-Request-Timeout")
	})
	t.Run("leaves a running stream alone", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.on("p0", status(503))
		p.behave("p1", demo.Behaviour{Tokens: 20, ChunkGap: demo.Duration(350 * time.Millisecond)})
		begin := time.Now()
		a := p.chat(stream)
		a.want(t, 200, "p1", 2)
		if took := time.Since(begin); a.Err != nil || took < 6*time.Second {
			t.Errorf("it ended after %v: %v", took, a.Err)
		}
		p.wantNoneOf("x-request-timeout")
	})
}

// A chain whose end the deadline may cut, and does not.
func TestDeadlineFarAway(t *testing.T) {
	t.Parallel()
	p := newLab(t, labOptions{Routing: "deadline: 50s"}).probe(t)
	p.fail(503, "p3")
	p.chat("", "X-Request-Timeout", "45s", "X-First-Byte-Timeout", "15s").want(t, 200, "p3", 4)
	p.wantNoneOf("x-request-timeout", "x-first-byte-timeout", "x-shunt-wait", "x-shunt-deadline", "x-envoy-upstream-rq-per-try-timeout-ms")
}

// wantNoneOf checks that no provider saw any of these headers.
func (p *probe) wantNoneOf(headers ...string) {
	p.t.Helper()
	for _, f := range p.fakes {
		for _, s := range p.seen(f.slug) {
			for _, h := range headers {
				if s.Header.Get(h) != "" {
					p.t.Errorf("SEC-1: %s got %s: %s", f.slug, h, s.Header.Get(h))
				}
			}
		}
	}
}

// X-First-Byte-Timeout: less than the providers' own, never more.
func TestFirstByteWish(t *testing.T) {
	t.Parallel()
	for name, fallbackOn := range map[string]string{"direct": "[connect-failure, reset, timeout, 5xx]", "timed": "[timeout]"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, labOptions{Models: 8, Routing: "fallback_on: " + fallbackOn, Each: map[string]string{
				"p0": "timeout: {first_byte: 20s}", "p1": "timeout: {first_byte: 400ms}", "p2": "timeout: {first_byte: 20s}"}})
			t.Run("each attempt has so much and no more", func(t *testing.T) {
				t.Parallel()
				p := l.probe(t)
				for _, f := range p.fakes {
					p.on(f.slug, hang)
				}
				begin := time.Now()
				a := p.chat("", "X-First-Byte-Timeout", "1500ms")
				a.wantError(t, 502, "all_providers_failed", "")
				if took := time.Since(begin); took < 4900*time.Millisecond || took > 19*time.Second {
					t.Errorf("it took %v, want 1.5 + 0.4 + 1.5 + 1.5 s", took)
				}
				if got, want := outcomes(p.event(a)), "p0 timeout 0, p1 timeout 0, p2 timeout 0, p3 timeout 0"; got != want {
					t.Errorf("the event's attempts are %q, want %q", got, want)
				}
				p.wantNoneOf("x-first-byte-timeout")
			})
			t.Run("not more than the provider's own", func(t *testing.T) {
				t.Parallel()
				p := l.probe(t)
				p.on("p1", hang)
				a := p.chat(`,"provider":{"order":["p1","p3"]}`, "X-First-Byte-Timeout", "1h")
				a.want(t, 200, "p3", 2)
			})
			t.Run("one that is none", func(t *testing.T) {
				t.Parallel()
				l.probe(t).chat("", "X-First-Byte-Timeout", "5").wantError(t, 400, "invalid_parameter", "X-First-Byte-Timeout")
			})
		})
	}
}

// routing.fallback_within: after a slow first attempt there is no other, and its error
// is the client's.
func TestFallbackWithin(t *testing.T) {
	t.Parallel()
	for name, each := range map[string]string{"direct": "{first_byte: 8s}", "timed": "{first_byte: 7900ms}"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, labOptions{Models: 12, Routing: "fallback_within: 3s", Each: map[string]string{
				"p0": "timeout: " + each, "p1": "timeout: {first_byte: 8s}", "p2": "timeout: {first_byte: 8s}", "p3": "timeout: {first_byte: 8s}"}})
			slow := 4 * time.Second
			for _, tc := range []struct {
				name    string
				h       http.HandlerFunc
				status  int
				code    string
				outcome string
			}{
				{"503", after(slow, status(503)), 503, "c503", "p0 status 503"},
				{"429", after(slow, status(429)), 429, "c429", "p0 status 429"},
				{"401", after(slow, status(401)), 502, "provider_error", "p0 status 401"},
				{"a hang", hang, 502, "all_providers_failed", "p0 timeout 0"},
				{"a reset", after(slow, fault(demo.FaultReset, 0)), 502, "all_providers_failed", "p0 reset 0"},
			} {
				t.Run("after a slow "+tc.name, func(t *testing.T) {
					t.Parallel()
					p := l.probe(t)
					p.on("p0", tc.h)
					a := p.chat("")
					if a.Status != tc.status || a.Attempts() != "1" || len(p.seen("p1")) != 0 {
						t.Errorf("got %d after %s attempts, want %d after the first; p1 got %d\n%s", a.Status, a.Attempts(), tc.status, len(p.seen("p1")), a.Body)
					}
					if want := `"code":"` + tc.code + `"`; !strings.Contains(a.Body, want) || a.Header.Get("x-shunt-end") != "" {
						t.Errorf("the client saw %v\n%s, want %s", a.Header, a.Body, want)
					}
					if e := p.event(a); outcomes(e) != tc.outcome || e.Data.Status != "failed" {
						t.Errorf("the event says %s, %q, want %q", e.Data.Status, outcomes(e), tc.outcome)
					}
				})
			}
			t.Run("in time", func(t *testing.T) {
				t.Parallel()
				p := l.probe(t)
				p.on("p0", status(503))
				p.on("p1", after(slow, status(500)))
				p.on("p2", status(404))
				p.chat("").want(t, 200, "p3", 4)
			})
			t.Run("400 is never followed", func(t *testing.T) {
				t.Parallel()
				p := l.probe(t)
				p.on("p0", status(400))
				p.chat("").want(t, 400, "p0", 1)
			})
		})
	}
}
