package e2e

import (
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
)

// CMD-4 on a live answer: who asks, and may, sees why these providers; and nobody else.
func TestExplainHeader(t *testing.T) {
	t.Parallel()
	t.Run("asked for", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		for _, more := range []string{`,"provider":{"only":["p1","p2"]}`, `,"stream":true,"provider":{"only":["p1","p2"]}`} {
			a := p.chat(more, "x-shunt-explain", "1")
			a.want(t, 200, "p1", 1)
			got := a.Header.Get("x-shunt-explain")
			for _, want := range []string{"model=" + p.model, "kind=explicit", "1=p1", "2=p2", "out: p0 (not in only), p3 (not in only)"} {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in %q", want, got)
				}
			}
		}
		p.fail(503)
		if a := p.chat(`,"provider":"p3"`, "x-shunt-explain", "1"); !strings.Contains(a.Header.Get("x-shunt-explain"), "1=p3") {
			t.Errorf("on a provider's 503: %v", a.Header)
		}
		if h := p.last("p3").Header; h.Get("x-shunt-explain") != "" || h.Get("shunt-explain") != "" {
			t.Errorf("SEC-1: the provider saw %v", h)
		}
	})
	t.Run("not asked for", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		for _, headers := range [][]string{nil, {"x-shunt-explain", "0"}, {"x-shunt-explain", ""}, {"shunt-explain", "1"}} {
			if a := p.chat("", headers...); a.Status != 200 || a.Header.Values("x-shunt-explain") != nil {
				t.Errorf("%q: %d %v", headers, a.Status, a.Header)
			}
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		t.Parallel()
		server := harness.StartServer(t, reply(200, "application/json", used), nil)
		s := harness.Run(t, "providers: {p: {endpoint: http://"+server.Addr+"}}\nmodels: {m: {offers: [{provider: p, model: m}]}}\n")
		a := post(t, s.URL+chatPath, `{"model":"m"}`, "x-shunt-explain", "1", "shunt-explain", "1")
		if a.Status != 200 || a.Header.Values("x-shunt-explain") != nil {
			t.Errorf("%d %v", a.Status, a.Header)
		}
	})
}
