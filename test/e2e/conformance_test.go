package e2e

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy/conformance"
	"github.com/shunt-gateway/shunt/test/harness"
)

// TestConformance sends the cases of policy/testdata/conformance through Envoy, but for
// those that need figures or a conversation. What users saved they save here as users
// do. Every provider answers 503, so the attempts show the whole chain. When
// all cases have been through, they are sent once more and served, by whoever is first
// now that providers are measured.
func TestConformance(t *testing.T) {
	t.Parallel()
	suite, err := conformance.Load(os.DirFS("../../policy/testdata/conformance"))
	if err != nil {
		t.Fatal(err)
	}
	for name, yaml := range suite.Catalogs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{seen: map[string][]attempted{}, sent: map[string]*conformance.Case{}}
			server := harness.StartServer(t, w, nil)
			text := string(conformance.WithEndpoints(yaml, func(slug string) string { return "http://" + server.Addr + "/" + slug }))
			if strings.Contains(text, "\nrouting: {") {
				text = strings.Replace(text, "\nrouting: {", "\nrouting: {"+steady+", ", 1)
			} else {
				text += "\nrouting: {" + steady + "}\n"
			}
			text += "\nidentity: {trusted_headers: {user: x-user-id, plan: x-user-plan, secret: {header: x-edge-secret, value: edge}}}\n"
			c, err := catalog.Parse(catalog.Source{Name: name, Data: []byte(text), Dir: "/"})
			if err != nil {
				t.Fatal(err)
			}
			w.catalog = c
			w.Shunt = harness.Run(t, text)
			for _, check := range []func(*testing.T, *conformance.Case){w.checkChain, w.checkServed} {
				for i := range suite.Cases {
					if c := &suite.Cases[i]; c.Catalog == name && c.State.OfUser() {
						t.Run(c.ID, func(t *testing.T) { check(t, c) })
					}
				}
			}
			t.Run("events", w.checkEvents)
		})
	}
}

// world is all providers of a catalog in one.
type world struct {
	*harness.Shunt
	catalog *catalog.Catalog
	sent    map[string]*conformance.Case // by request id

	mu   sync.Mutex
	seen map[string][]attempted // by the query that the case's request has
}

type attempted struct{ provider, upstream string }

// ServeHTTP implements http.Handler. A query that ends in "fail" fails.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	slug, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	upstream := gjson.Get(readAll(r), "model").String()
	w.mu.Lock()
	w.seen[r.URL.RawQuery] = append(w.seen[r.URL.RawQuery], attempted{slug, upstream})
	w.mu.Unlock()
	if strings.HasSuffix(r.URL.RawQuery, "fail") {
		status(503)(rw, r)
		return
	}
	reply(200, "application/json", used)(rw, r)
}

func (w *world) send(t *testing.T, c *conformance.Case, query string) (answer, []attempted) {
	t.Helper()
	headers := userOf(c)
	for _, h := range c.Headers {
		headers = append(headers, h.Name, h.Value)
	}
	a := post(t, w.URL+c.Path+"?"+query, string(c.Body), headers...)
	w.mu.Lock()
	defer w.mu.Unlock()
	return a, w.seen[query]
}

// userOf is a caller of the case's own: nothing sticks to another's, and nobody else
// saved anything for it.
func userOf(c *conformance.Case) []string {
	h := []string{"authorization", "Bearer " + c.ID, "x-user-id", c.ID, "x-edge-secret", "edge"}
	if c.State.Subscriber {
		h = append(h, "x-user-plan", "subscription")
	}
	return h
}

// save has the case's user save what the case says (PREF-2). It is false for
// preferences that nobody can have: those that leave the model without a provider
// (PREF-3).
func (w *world) save(t *testing.T, c *conformance.Case) bool {
	t.Helper()
	asked, _ := w.catalog.Model(gjson.GetBytes(c.Body, "model").String())
	body := c.State.Patch(w.catalog, asked)
	if body == nil {
		return true
	}
	req := newPost(t, w.URL+"/api/user/provider-preferences", string(body), userOf(c)...)
	req.Method = http.MethodPatch
	a := do(t, req)
	if a.Status == 400 && c.Want.Status == 400 {
		a.wantShape(t, 400, "INVALID_EXCLUSIONS", gjson.Get(a.Body, "error.param").String())
		return false
	}
	if a.Status != 200 {
		t.Fatalf("%s.txt:%d: PATCH %s: %d %s", c.Section, c.Line, body, a.Status, a.Body)
	}
	return true
}

func (w *world) checkServed(t *testing.T, c *conformance.Case) {
	if c.Want.Status != 200 {
		return
	}
	a, chain := w.send(t, c, c.ID)
	if a.Status != 200 || a.Attempts() != "1" || len(chain) != 1 || chain[0].provider != a.Provider() {
		t.Errorf("%s.txt:%d: got %d from %q after %s, asked %v", c.Section, c.Line, a.Status, a.Provider(), a.Attempts(), chain)
	}
}

func (w *world) checkChain(t *testing.T, c *conformance.Case) {
	at := fmt.Sprintf("%s.txt:%d: %s", c.Section, c.Line, c.Title)
	if !w.save(t, c) {
		return
	}
	a, chain := w.send(t, c, c.ID+"-fail")
	if c.Want.Status != 200 {
		a.wantError(t, c.Want.Status, c.Want.Code, c.Want.Param)
		if len(chain) != 0 {
			t.Errorf("%s: refused, and %v were asked", at, chain)
		}
		return
	}
	w.wantChain(t, at, c, chain)
	last := c.Want.Attempts[len(c.Want.Attempts)-1]
	a.want(t, 503, last.Provider, len(c.Want.Attempts))
	w.sent[a.ID()] = c
}

// checkEvents checks what the cases with a chain are billed as.
func (w *world) checkEvents(t *testing.T) {
	for id, c := range w.sent {
		if d := w.Event(t, id).Data; d.Decision.Kind != c.Want.Kind || d.Status != "failed" || c.Want.Charged != "" && d.BillingMode != c.Want.Charged {
			t.Errorf("%s.txt:%d: the event says %s, %s, %s; want %s, failed, %s", c.Section, c.Line, d.Decision.Kind, d.Status, d.BillingMode, c.Want.Kind, c.Want.Charged)
		}
	}
}

// wantChain compares providers, and the upstream models where the case names another
// model.
func (w *world) wantChain(t *testing.T, at string, c *conformance.Case, got []attempted) {
	t.Helper()
	if !slices.EqualFunc(got, c.Want.Attempts, func(g attempted, want conformance.Attempt) bool {
		return g.provider == want.Provider && (want.Model == "" || g.upstream == w.upstream(t, want))
	}) {
		t.Errorf("%s: asked %v, want %v", at, got, c.Want.Attempts)
	}
}

func (w *world) upstream(t *testing.T, a conformance.Attempt) string {
	t.Helper()
	p, okP := w.catalog.Provider(a.Provider)
	m, okM := w.catalog.Model(a.Model)
	if !okP || !okM || m.OfferOf(p) == nil {
		t.Fatalf("no offer %v", a)
	}
	return m.OfferOf(p).Upstream
}
