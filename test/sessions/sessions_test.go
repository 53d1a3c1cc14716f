// Package sessions tries identity, saved preferences and stickiness through a real
// Envoy.
package sessions

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/envoy/runner"
	"github.com/shunt-gateway/shunt/test/harness"
)

func TestMain(m *testing.M) {
	runner.GuardMain()
	if config := os.Getenv(nodeVariable); config != "" {
		runNode(config)
		return
	}
	os.Exit(harness.Build(m))
}

const edgeSecret = "edge-secret-of-the-tests"

// site is a shunt whose callers are told apart in every way there is.
type site struct {
	*harness.Shunt
	signer    *signer
	providers map[string]*harness.Provider
	config    string
}

// offers are the site's, the cheapest first; alpha and beta cache.
const offers = `
      - {provider: alpha, model: a, caching: true, price: {prompt: 1, completion: 1}, estimate: {ttft: 10ms}}
      - {provider: beta, model: b, caching: true, price: {prompt: 2, completion: 2}, estimate: {ttft: 20ms}}
      - {provider: gamma, model: c, price: {prompt: 3, completion: 3}, estimate: {ttft: 30ms}}
`

func startSite(t *testing.T, state string) *site {
	t.Helper()
	s := &site{signer: newSigner(t), providers: map[string]*harness.Provider{}}
	s.config = s.yaml(t) + state
	s.run(t)
	s.saved(t, asEdge("nobody")...) // NATS is there: shunt is ready without it
	return s
}

func (s *site) run(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	harness.WriteFile(t, filepath.Join(dir, "jwks.json"), s.signer.jwks())
	s.Shunt = harness.Run(t, s.config, harness.Options{Dir: dir, Env: []string{"EDGE_SECRET=" + edgeSecret}})
}

// another is a second instance with the same configuration and a data_dir of its own.
func (s *site) another(t *testing.T) *site {
	t.Helper()
	other := *s
	other.run(t)
	return &other
}

func (s *site) yaml(t *testing.T) string {
	t.Helper()
	y := "providers:\n"
	for _, slug := range []string{"alpha", "beta", "gamma"} {
		p := harness.StartProvider(t, demo.Config{Name: slug, APIKey: "key-" + slug})
		s.providers[slug] = p
		y += fmt.Sprintf("  %s: {endpoint: %q, api_key: key-%s}\n", slug, p.URL, slug)
	}
	// Measuring changes nothing, on however busy a machine: the estimates rank.
	return y + `routing: {health: {measured: false, explore: 0%}}
models:
  m:
    price: {prompt: 10, completion: 20}
    offers:` + offers + `
  one:
    offers: [{provider: gamma, model: c}]
identity:
  jwt: {issuer: https://id.example, audiences: [shunt], jwks: {file: jwks.json}, claims: {user: sub, plan: plan}}
  trusted_headers: {user: x-user-id, session: x-session-id, plan: x-user-plan, secret: {header: x-edge-secret, value: "${EDGE_SECRET}"}}
`
}

type answer struct {
	status int
	header http.Header
	body   string
}

var client = &http.Client{Timeout: time.Minute}

// call sends a request; headers are name, value, name, value.
func (s *site) call(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	return send(t, method, s.URL+path, body, headers...)
}

func send(t testing.TB, method, url, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (s *site) chat(t testing.TB, body string, headers ...string) answer {
	t.Helper()
	return s.call(t, http.MethodPost, "/v1/chat/completions", body, headers...)
}

const preferencesPath = "/api/user/provider-preferences"

const hello = `{"model":"m","messages":[{"role":"user","content":"hello"}]}`

// code is error.code of an answer in the API's shape.
func (a answer) code() string {
	var e struct {
		Error *struct{ Message, Type, Code string }
	}
	if json.Unmarshal([]byte(a.body), &e) != nil || e.Error == nil || e.Error.Message == "" || e.Error.Type == "" {
		return "not an API error: " + a.body
	}
	return e.Error.Code
}

func asEdge(user string, more ...string) []string {
	return append([]string{"x-user-id", user, "x-edge-secret", edgeSecret}, more...)
}

func bearer(token string) []string { return []string{"authorization", "Bearer " + token} }
