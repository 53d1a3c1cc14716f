package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

// hang reads a request and says nothing.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// hangAfter says something and then nothing.
func hangAfter(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		pieces(contentType, body)(w, r)
		<-r.Context().Done()
	}
}

// A provider that is well answers within these timeouts on a machine that is busy too:
// they are seconds.

// FALL-1: first-byte timeouts, where all providers have the same.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{Models: 12, Each: forAll("timeout: {connect: 3s, first_byte: 3s, idle: 7s}"),
		Routing: "max_attempts: 4"})
	l.checkTimeouts(t, 3*time.Second, 7*time.Second)
	l.checkAllHang(t)
	l.checkChainOfHangs(t)
}

// Providers whose idle timeout is short: several waits for a first byte are more, and
// no reason to give up.
func TestTimeoutsOfChains(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{Each: forAll("timeout: {connect: 3s, first_byte: 3s, idle: 3500ms}")})
	l.checkAllHang(t)
	l.checkChainOfHangs(t)
}

func forAll(config string) map[string]string {
	return map[string]string{"p0": config, "p1": config, "p2": config, "p3": config}
}

func (l *lab) checkAllHang(t *testing.T) {
	t.Run("FALL-1 all of them hang", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		for _, f := range p.fakes {
			p.on(f.slug, hang)
		}
		a := p.chat("")
		a.wantError(t, 502, "all_providers_failed", "")
		e := p.event(a)
		if got, want := outcomes(e), "p0 timeout 0, p1 timeout 0, p2 timeout 0, p3 timeout 0"; got != want || e.Data.Status != "failed" || e.Data.Amount != "0" {
			t.Errorf("the event says %s, %s, %q, want %q", e.Data.Status, e.Data.Amount, got, want)
		}
	})
}

func (l *lab) checkChainOfHangs(t *testing.T) {
	t.Run("FALL-1 all but the last hang", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		for _, f := range p.fakes[:3] {
			p.on(f.slug, hang)
		}
		p.chat("").want(t, 200, "p3", 4)
	})
}

// FALL-1: each provider's own first-byte timeout, where they differ: p0's is short,
// p1's is longer, those of p2 and p3 are so long that no test would see them end.
func TestTimeoutsThatDiffer(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{Models: 40, Each: map[string]string{
		"p0": "timeout: {connect: 2s, first_byte: 2s, idle: 5s}", "p1": "timeout: {first_byte: 4s, idle: 5s}",
	}})
	l.checkTimeouts(t, 2*time.Second, 5*time.Second)
	t.Run("FALL-1 the second provider is given its own time", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.on("p0", hang)
		p.on("p1", hang)
		begin := time.Now()
		a := p.chat("")
		a.want(t, 200, "p2", 3)
		if took := time.Since(begin); took < 6*time.Second || took > 20*time.Second {
			t.Errorf("it took %v, want 2 s + 4 s, and less than the 20 s of the others", took)
		}
		if got, want := outcomes(p.event(a)), "p0 timeout 0, p1 timeout 0, p2 ok 200"; got != want {
			t.Errorf("the event's attempts are %q, want %q", got, want)
		}
	})
	t.Run("FALL-1 nor is a patient one cut short by it", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.behave("p2", demo.Behaviour{TTFT: demo.Duration(5 * time.Second)})
		p.fail(503, "p2")
		p.chat("").want(t, 200, "p2", 3)
	})
	for _, tc := range []struct {
		name    string
		h       http.HandlerFunc
		outcome string
	}{
		{"FALL-1 reset", fault(demo.FaultReset, 0), "p0 reset 0"},
		{"FALL-1 not HTTP", raw("nonsense\r\n\r\n"), "p0 reset 0"},
		{"FALL-1 503", status(503), "p0 status 503"},
		{"FALL-1 504", status(504), "p0 status 504"},
		{"FALL-1 401", status(401), "p0 status 401"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := l.probe(t)
			p.on("p0", tc.h)
			a := p.chat("")
			a.want(t, 200, "p1", 2)
			if got, want := outcomes(p.event(a)), tc.outcome+", p1 ok 200"; got != want {
				t.Errorf("the event's attempts are %q, want %q", got, want)
			}
			p.wantSecond("p1")
		})
	}
	t.Run("FALL-2 all of the chain", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.fail(503, "p3")
		p.chat("", internal...).want(t, 200, "p3", 4)
		for _, f := range p.fakes {
			s := p.last(f.slug)
			if s.Host != f.Addr || s.Target != f.path+"/chat/completions" || strings.TrimPrefix(s.Header.Get("authorization"), "Bearer ") != f.key {
				t.Errorf("FALL-2: %s got %s %s %v", f.slug, s.Host, s.Target, s.Header)
			}
			for name := range s.Header {
				if n := strings.ToLower(name); strings.HasPrefix(n, "x-shunt") || strings.HasPrefix(n, "x-envoy") || strings.HasPrefix(n, "x-forwarded") {
					t.Errorf("SEC-1: %s saw %s: %q", f.slug, name, s.Header[name])
				}
			}
		}
	})
	t.Run("FALL-1 400 is the client's", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.on("p0", status(400))
		a := p.chat("")
		a.want(t, 400, "p0", 1)
		if want := `{"error":{"message":"no 400","type":"t","param":null,"code":"c400"}}`; a.Body != want {
			t.Errorf("API-6: got %s", a.Body)
		}
	})
	t.Run("BILL-7 streams cut anywhere", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		// Two providers, or there would be no need for the way round.
		p.fail(503, "p0")
		rapid.Check(t, func(rt *rapid.T) { p.checkCutBy(rt, "p0", `,"provider":{"order":["p0","p2"]}`) })
	})
	t.Run("FALL-1 a stream that breaks off", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.on("p0", fault(demo.FaultReset, 3))
		a := p.chat(stream)
		a.want(t, 200, "p0", 1)
		if n := len(splitEvents(a.Body)); n != 3 || a.Err == nil {
			t.Errorf("the client saw %d events, %v", n, a.Err)
		}
		if e := p.event(a); e.Data.Status != "failed" || outcomes(e) != "p0 reset 200" {
			t.Errorf("the event says %s, %q", e.Data.Status, outcomes(e))
		}
	})
}

// checkTimeouts is about p0, which is given wait for the first byte and idle for any
// other.
func (l *lab) checkTimeouts(t *testing.T, wait, idle time.Duration) {
	t.Run("FALL-1 a hang", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.on("p0", hang)
		begin := time.Now()
		a := p.chat("")
		a.want(t, 200, "p1", 2)
		if took := time.Since(begin); took < wait {
			t.Errorf("it took %v, less than %v", took, wait)
		}
		if got, want := outcomes(p.event(a)), "p0 timeout 0, p1 ok 200"; got != want {
			t.Errorf("the event's attempts are %q, want %q", got, want)
		}
		p.wantSecond("p1")
	})
	t.Run("FALL-1 slow and steady is no timeout", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.behave("p0", demo.Behaviour{Tokens: 20, ChunkGap: demo.Duration(wait / 8)}) // takes two and a half times the wait
		a := p.chat(stream)
		a.want(t, 200, "p0", 1)
		if a.Err != nil || !strings.HasSuffix(a.Body, "[DONE]\n\n") {
			t.Errorf("the stream was cut: %v\n%s", a.Err, clip(a.Body))
		}
	})
	for _, tc := range []struct{ name, contentType, said string }{
		{"FALL-1 a hang in a stream", "text/event-stream", sse("\n", chunkRole)},
		{"FALL-1 a hang in JSON", "application/json", `{"id":`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := l.probe(t)
			p.on("p0", hangAfter(tc.contentType, tc.said))
			begin := time.Now()
			a := p.chat(stream)
			a.want(t, 200, "p0", 1)
			if took := time.Since(begin); a.Err == nil || took < idle || took > 30*time.Second {
				t.Errorf("the client saw an end after %v: %v", took, a.Err)
			}
			if len(p.seen("p1")) != 0 {
				t.Error("p1 was asked")
			}
			if e := p.event(a); e.Data.Status != "failed" || outcomes(e) != "p0 timeout 200" {
				t.Errorf("the event says %s, %q, want failed, p0 timeout 200", e.Data.Status, outcomes(e))
			}
		})
	}
}

// FALL-1: routing.fallback_on changes the list.
func TestFallbackOn(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		on   string
		over map[string]bool // what still falls over
	}{
		{"[503, connect-failure]", map[string]bool{"503": true, "refused": true}},
		{"[5xx, timeout]", map[string]bool{"500": true, "503": true, "hang": true}},
		{"[429, reset]", map[string]bool{"429": true, "reset": true}},
		{"[connect-failure, reset]", map[string]bool{"refused": true, "reset": true}},
		{"[]", nil},
		{"[500, 401, 418, reset, timeout, connect-failure]", map[string]bool{"500": true, "401": true, "418": true, "reset": true, "hang": true, "refused": true}},
		// The same conditions by other means.
		{"[503, 418, timeout], fallback_within: 1h", map[string]bool{"503": true, "418": true, "hang": true}},
		{"[5xx, reset, timeout, connect-failure], fallback_within: 1h", map[string]bool{"500": true, "503": true, "reset": true, "hang": true, "refused": true}},
	} {
		t.Run("FALL-1 "+tc.on, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, labOptions{Models: 10, Routing: "max_attempts: 2, fallback_on: " + tc.on,
				Each:     forAll("timeout: {first_byte: 3s}"),
				Endpoint: map[string]string{"p3": "http://127.0.0.1:1/v1"}})
			if tc.over["503"] {
				t.Run("SEL-14 max_attempts", func(t *testing.T) {
					t.Parallel()
					p := l.probe(t)
					p.fail(503)
					p.chat("").want(t, 503, "p1", 2)
				})
			}
			for name, h := range map[string]http.HandlerFunc{
				"500": status(500), "503": status(503), "429": status(429), "401": status(401), "418": status(418),
				"reset": fault(demo.FaultReset, 0), "hang": hang, "refused": nil,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					p := l.probe(t)
					first := "p0"
					if h == nil {
						first = "p3"
					} else {
						p.on(first, h)
					}
					a := p.chat(`,"provider":{"order":["` + first + `","p1"]}`)
					if tc.over[name] {
						a.want(t, 200, "p1", 2)
					} else if a.Attempts() != "1" || a.Status == 200 {
						t.Errorf("it fell over: %d from %s after %s", a.Status, a.Provider(), a.Attempts())
					}
				})
			}
		})
	}
}

// SEL-14: as many attempts as are configured, the least and the most that can be.
func TestMaxAttempts(t *testing.T) {
	t.Parallel()
	for n, models := range map[int]int{1: 1, 3: 1, 16: 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, labOptions{Models: models, Routing: fmt.Sprintf("max_attempts: %d", n)})
			p := l.probe(t)
			p.fail(503)
			var more []string
			for range models - 1 {
				other := l.probe(t)
				other.fail(503)
				more = append(more, other.model)
			}
			with := ""
			if len(more) > 0 {
				with = `,"models":["` + strings.Join(more, `","`) + `"]`
			}
			a := p.chat(with)
			a.want(t, 503, fmt.Sprintf("p%d", (n-1)%4), n)
			if got := len(p.event(a).Data.Attempts); got != n {
				t.Errorf("the event has %d attempts, want %d", got, n)
			}
		})
	}
}
