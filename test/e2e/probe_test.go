package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

// probe is a model of a lab's that one case has for itself.
type probe struct {
	*lab
	t     testing.TB
	model string
}

// newProbe takes a model of the shared lab.
func newProbe(t testing.TB) *probe {
	t.Helper()
	l, err := sharedLab()
	if err != nil {
		t.Fatal(err)
	}
	return l.probe(t)
}

// probe takes a model that no one has used yet.
func (l *lab) probe(t testing.TB) *probe {
	t.Helper()
	n := l.taken.Add(1) - 1
	if n >= int64(l.models) {
		t.Fatalf("the lab has no more than %d models; give it more", l.models)
	}
	return &probe{lab: l, t: t, model: fmt.Sprintf("m%d", n)}
}

func (p *probe) fake(slug string) *fake {
	i := slices.IndexFunc(p.fakes, func(f *fake) bool { return f.slug == slug })
	return p.fakes[i]
}

// on has a provider answer every request for this model with h.
func (p *probe) on(slug string, h http.HandlerFunc) {
	f := p.fake(slug)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scripts[p.model] = h
}

// behave has a provider answer this model as the demo provider does with b.
func (p *probe) behave(slug string, b demo.Behaviour) {
	f := p.fake(slug)
	f.demo.SetFor(f.upstream(p.model), b)
}

// fail has every provider of the lab but the named ones answer this status.
func (p *probe) fail(status int, but ...string) {
	for _, f := range p.fakes {
		if !slices.Contains(but, f.slug) {
			p.behave(f.slug, demo.Behaviour{Fail: &demo.Failure{Status: status}})
		}
	}
}

// body is a small chat request with more members at its end: `,"stream":true`.
func (p *probe) body(more string) string {
	return `{"model":"` + p.model + `","messages":[{"role":"user","content":"hello"}]` + more + `}`
}

const chatPath = "/v1/chat/completions"

// chat sends body(more).
func (p *probe) chat(more string, headers ...string) answer {
	p.t.Helper()
	return p.send(newPost(p.t, p.URL+chatPath, p.body(more), headers...))
}

// post sends a body as it stands.
func (p *probe) post(path, body string, headers ...string) answer {
	p.t.Helper()
	return p.send(newPost(p.t, p.URL+path, body, headers...))
}

func (p *probe) send(req *http.Request) answer {
	p.t.Helper()
	a := do(p.t, req)
	p.calls.note(a)
	return a
}

// seen are the requests for this model that a provider got.
func (p *probe) seen(slug string) []sent {
	f := p.fake(slug)
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen[p.model])
}

// last is the one request that a provider got.
func (p *probe) last(slug string) sent {
	p.t.Helper()
	all := p.seen(slug)
	if len(all) != 1 {
		for _, s := range all {
			p.t.Logf("%s got %s %s %v\n%s", slug, s.Method, s.Target, s.Header, clip(s.Body))
		}
		p.t.Fatalf("%s got %d requests, want 1", slug, len(all))
	}
	return all[0]
}

func (p *probe) event(a answer) harness.Event {
	p.t.Helper()
	return p.Event(p.t, a.ID())
}

// want checks who answered what, after how many attempts.
func (a answer) want(t testing.TB, status int, provider string, attempts int) {
	t.Helper()
	if a.Status != status || a.Provider() != provider || a.Attempts() != strconv.Itoa(attempts) {
		t.Errorf("got %d from %q after %q attempts, want %d from %q after %d\n%s",
			a.Status, a.Provider(), a.Attempts(), status, provider, attempts, clip(a.Body))
	}
	if a.ID() == "" {
		t.Error("FALL-4: no x-request-id")
	}
}

// clip shortens a body for a message.
func clip(s string) string {
	if len(s) > 600 {
		return s[:400] + fmt.Sprintf(" …(%d bytes)… ", len(s)) + s[len(s)-100:]
	}
	return s
}

// outcomes are an event's attempts in short: "p0 status 503, p1 ok 200".
func outcomes(e harness.Event) string {
	var out []string
	for _, a := range e.Data.Attempts {
		out = append(out, fmt.Sprintf("%s %s %d", a.Provider, a.Outcome, a.Status))
	}
	return strings.Join(out, ", ")
}

// Answers that tests write.

// status answers an error in the shape of the API.
func status(n int, headers ...string) http.HandlerFunc {
	return reply(n, "application/json", fmt.Sprintf(`{"error":{"message":"no %d","type":"t","param":null,"code":"c%d"}}`, n, n), headers...)
}

// reply answers a body in one piece.
func reply(n int, contentType, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", contentType)
		w.Header().Set("content-length", strconv.Itoa(len(body)))
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		w.WriteHeader(n)
		_, _ = w.Write([]byte(body))
	}
}

// pieces answers 200 with a body that is flushed piece by piece.
func pieces(contentType string, parts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", contentType)
		for _, p := range parts {
			_, _ = w.Write([]byte(p))
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// raw takes the connection over and writes bytes, then closes it.
func raw(bytes string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte(bytes))
		_ = conn.Close()
	}
}
