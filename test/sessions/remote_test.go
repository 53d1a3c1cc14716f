package sessions

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

// ID-1: keys that are fetched. Until there are any no token holds, and who has none is
// served all the same; then tokens are verified as with a file. API keys have a header
// of their own here, and the claims other names.
func TestRemoteKeys(t *testing.T) {
	t.Parallel()
	issuer, other := newSigner(t), newSigner(t)
	var keys atomic.Pointer[string]
	jwks := harness.StartServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		set := keys.Load()
		if set == nil {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(*set))
	}), nil)
	p := harness.StartProvider(t, demo.Config{Name: "alpha"})
	s := &site{Shunt: harness.Run(t, fmt.Sprintf(`
providers: {alpha: {endpoint: %q}}
models: {m: {price: {prompt: 1, completion: 1}, offers: [{provider: alpha, model: a}]}}
identity:
  api_key: {header: x-key}
  jwt: {issuer: https://id.example, jwks: {uri: "http://%s/keys"}, claims: {user: "https://id.example/user", plan: tier}}
`, p.URL, jwks.Addr))}

	const user = "https://id.example/user"
	ann := func(s *signer) []string {
		return bearer(s.token(t, good("").with(user, "ann").with("tier", "subscription")))
	}
	if a := s.chat(t, hello, ann(issuer)...); a.status != http.StatusUnauthorized || a.code() != "invalid_token" {
		t.Errorf("without keys: %d %s", a.status, a.body)
	}
	if a := s.chat(t, hello, "x-key", "sk-1"); a.status != http.StatusOK {
		t.Errorf("without keys, an API key: %d %s", a.status, a.body)
	}
	set := issuer.jwks()
	keys.Store(&set)
	harness.Eventually(t, "a token holds", func() error {
		if a := s.call(t, http.MethodGet, preferencesPath, "", ann(issuer)...); a.status != http.StatusOK {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
	for name, token := range map[string][]string{
		"another key":   ann(other),
		"expired":       bearer(issuer.token(t, good("").with(user, "ann").with("exp", 1))),
		"unsigned":      bearer(unsigned(t, good("").with(user, "ann"))),
		"an API key":    {"x-key", "sk-1"},
		"without users": bearer(issuer.token(t, good("ann"))),
	} {
		if a := s.call(t, http.MethodGet, preferencesPath, "", token...); a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	a := s.chat(t, hello, append(ann(issuer), "x-key", "sk-1")...)
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if e := s.Event(t, a.header.Get("x-request-id")); e.Data.BillingMode != "subscription" {
		t.Errorf("ID-1: the plan's claim: billed as %s", e.Data.BillingMode)
	}
	for _, r := range p.Requests() {
		if all := fmt.Sprint(r.Header); strings.Contains(all, "sk-1") || strings.Contains(all, "eyJ") || strings.Contains(all, "ann") {
			t.Errorf("SEC-1: the provider saw %s", all)
		}
	}
}
