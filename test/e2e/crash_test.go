package e2e

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/test/harness"
)

// held is a stream that goes on when its test says so.
type held struct {
	more chan string
	resp *http.Response
	id   string
}

// hold begins a stream at p0 and returns when its first event is with the client.
func (p *probe) hold() *held {
	p.t.Helper()
	h := &held{more: make(chan string)}
	p.on("p0", func(w http.ResponseWriter, r *http.Request) {
		pieces("text/event-stream", sse("\n", chunkRole))(w, r)
		for text := range h.more {
			pieces("", text)(w, r)
		}
	})
	h.resp, _ = begin(p.t, newPost(p.t, p.URL+chatPath, p.body(stream))) //nolint:bodyclose // begin closes it
	if err := readUntil(h.resp.Body, chunkRole[1:]); err != nil {
		p.t.Fatal(err)
	}
	h.id = h.resp.Header.Get("x-request-id")
	p.calls.note(answer{Header: h.resp.Header})
	return h
}

// next sends an event, which must arrive.
func (h *held) next(t testing.TB) {
	t.Helper()
	h.more <- sse("\n", chunkWord)
	if err := readUntil(h.resp.Body, chunkWord[1:]); err != nil {
		t.Errorf("the stream was disturbed: %v", err)
	}
}

// end ends the stream, which must arrive whole.
func (h *held) end(t testing.TB) {
	t.Helper()
	h.more <- sse("\n", chunkUsage, done)
	close(h.more)
	if rest, err := io.ReadAll(h.resp.Body); err != nil || !strings.HasSuffix(string(rest), "[DONE]\n\n") {
		t.Errorf("the stream ended with %q, %v", rest, err)
	}
}

// SEC-5: a stalled shunt means an error soon, and leaves streams alone.
func TestStalled(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	p, other := l.probe(t), l.probe(t)
	h := p.hold()
	l.Stall(t)
	defer l.Signal(t, syscall.SIGCONT)
	// BILL-1: a request that Envoy refused has no event, though shunt finds it waiting
	// when it is back.
	routed := func(path, more string) func(t *testing.T) answer {
		return func(t *testing.T) answer {
			a := post(t, l.URL+path, other.body(more))
			l.calls.note(a)
			return a
		}
	}
	for name, ask := range map[string]func(t *testing.T) answer{
		"SEC-5 routed":    routed(chatPath, ""),
		"SEC-5 streamed":  routed(chatPath, stream),
		"SEC-5 responses": routed("/v1/responses", ""),
		"SEC-5 models":    func(t *testing.T) answer { return get(t, l.URL+"/v1/models") },
		"SEC-5 providers": func(t *testing.T) answer { return get(t, l.URL+"/api/models/m0/providers") },
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			a := ask(t)
			a.wantError(t, 503, "overloaded", "")
			if a.Header.Get("retry-after") == "" {
				t.Error("SEC-5: no retry-after")
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("SEC-5: it took %v", took)
			}
		})
	}
	get(t, l.URL+"/nowhere").wantError(t, 404, "not_found", "")
	h.next(t)
	l.Signal(t, syscall.SIGCONT)
	harness.Eventually(t, "shunt decides again", func() error {
		if a := other.chat(""); a.Status != 200 {
			return errors.New(a.Body)
		}
		return nil
	})
	h.end(t)
	if e := l.Event(t, h.id); e.Data.Status != "completed" || e.Data.Amount != "0.00055" {
		t.Errorf("BILL-1: the event says %s, %s", e.Data.Status, e.Data.Amount)
	}
}

// SEC-5: a shunt that stalls between two attempts.
func TestStalledBeforeRetry(t *testing.T) {
	t.Parallel()
	for _, failure := range []string{"deny", "allow"} {
		t.Run("SEC-5 "+failure, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, labOptions{Routing: "on_filter_failure: " + failure})
			p := l.probe(t)
			p.on("p0", func(w http.ResponseWriter, r *http.Request) {
				l.Stall(t)
				status(503)(w, r)
			})
			begin := time.Now()
			a := p.chat("")
			l.Signal(t, syscall.SIGCONT)
			a.wantShape(t, 503, "overloaded", "")
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("SEC-5: it took %v", took)
			}
			for _, slug := range []string{"p1", "p2", "p3"} { // nobody may get what was written for p0
				if n := len(p.seen(slug)); n != 0 {
					t.Errorf("FALL-2: %s got %s", slug, p.seen(slug)[0].Body)
				}
			}
			if e := p.Event(t, a.ID()); e.Data.Status != "failed" || e.Data.Amount != "0" || !strings.HasPrefix(outcomes(e), "p0 status 503") {
				t.Errorf("BILL-8: the event says %s, %s, %q", e.Data.Status, e.Data.Amount, outcomes(e))
			}
		})
	}
}

// SEC-5: on_filter_failure: allow sends what cannot be decided to the first provider.
func TestStalledAllow(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{Routing: "on_filter_failure: allow"})
	l.Stall(t)
	t.Cleanup(func() { l.Signal(t, syscall.SIGCONT) })
	for name, tc := range map[string]struct{ path, target, more string }{
		"SEC-5 chat":        {chatPath, "/chat/completions", ""},
		"SEC-5 stream":      {chatPath + "?a=b", "/chat/completions?a=b", stream},
		"SEC-5 responses":   {"/api/v1/responses", "/responses", ""},
		"SEC-5 talk-to-gpt": {"/api/talk-to-gpt", "/chat/completions", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := l.probe(t)
			body := p.body(tc.more)
			a := post(t, l.URL+tc.path, body, append(internal, "authorization", "Bearer sk-client")...)
			a.want(t, 200, "p0", 1)
			f := p.fake("p0")
			s := f.bodies(body)
			if len(s) != 1 || s[0].Target != f.path+tc.target || s[0].Header.Get("authorization") != "Bearer key-p0" || s[0].Host != f.Addr {
				t.Errorf("p0 got %+v", s)
			}
			if !strings.Contains(a.Body, `"provider":"p0"`) {
				t.Errorf("FALL-4: %s", clip(a.Body))
			}
		})
	}
}

// bodies are the requests with this body.
func (f *fake) bodies(body string) (out []sent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, all := range f.seen {
		for _, s := range all {
			if s.Body == body {
				out = append(out, s)
			}
		}
	}
	return out
}

// A shunt that is killed takes no stream with it, and leaves nothing for ever; the next
// one settles the stream.
func TestKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	h := l.probe(t).hold()
	children := l.Children(t)
	if len(children) != 2 {
		t.Fatalf("shunt has started %v, want Envoy and its guard", children)
	}
	l.Kill()
	harness.Eventually(t, "Envoy takes no more requests", func() error {
		c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
		resp, err := c.Get(l.URL + "/v1/models")
		if err != nil {
			return nil
		}
		_ = resp.Body.Close()
		return errors.New("it answers")
	})
	h.next(t)
	again, err := harness.Start(l.yaml(l.options), l.options.Harness)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Stop(t)
	h.next(t)
	h.end(t)
	if e := again.Event(t, h.id); e.Data.Status != "completed" || e.Data.Amount != "0.00055" {
		t.Errorf("BILL-1: the event says %s, %s", e.Data.Status, e.Data.Amount)
	}
	harness.WaitGone(t, children)
}

// An Envoy that dies is started again.
func TestEnvoyKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	p := l.probe(t)
	p.chat("").want(t, 200, "p0", 1)
	for _, c := range l.Children(t) {
		if c.Name == "envoy" {
			_ = syscall.Kill(c.PID, syscall.SIGKILL)
		}
	}
	harness.Eventually(t, "Envoy serves again", func() error {
		resp, err := client.Post(l.URL+chatPath, "application/json", strings.NewReader(p.body("")))
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			return errors.New(resp.Status)
		}
		return l.Ready()
	})
	p.chat("").want(t, 200, "p0", 1)
}

// CMD-1: shunt ends cleanly, with all that it started.
func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run("CMD-1 "+sig.String(), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, labOptions{})
			l.probe(t).chat("").want(t, 200, "p0", 1)
			children := l.Children(t)
			l.Signal(t, sig)
			l.Stop(t)
			harness.WaitGone(t, children)
			if left := l.Leftovers(t); len(left) != 0 {
				t.Errorf("CMD-1: left behind: %v", left)
			}
		})
	}
}
