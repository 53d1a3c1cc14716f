// Package telemetry reads what a running shunt tells of itself: its metrics, held
// against docs/operations.md, and the spans that a collector gets from it and its
// Envoy.
package telemetry

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/envoy/runner"
	"github.com/shunt-gateway/shunt/test/harness"
)

func TestMain(m *testing.M) {
	runner.GuardMain()
	os.Exit(harness.Build(m))
}

// Secrets of the site; none may be told to anybody.
const (
	keyAlpha  = "sk-alpha-hunter2"
	keyClient = "sk-client-hunter2"
	keyOTLP   = "otlp-hunter2"
	prompt    = "a very secret prompt"
)

// site is a shunt with two providers, alpha before beta.
type site struct {
	*harness.Shunt
	alpha, beta *harness.Provider
	config      string // but for what harness adds
}

func startSite(t *testing.T, more string, args ...string) *site {
	t.Helper()
	s := &site{
		alpha: harness.StartProvider(t, demo.Config{Name: "alpha", APIKey: keyAlpha}),
		beta:  harness.StartProvider(t, demo.Config{Name: "beta"}),
	}
	s.config = fmt.Sprintf(`
providers:
  alpha: {endpoint: %q, api_key: %s}
  beta: {endpoint: %q}
models:
  m:
    price: {prompt: 10, completion: 20}
    default_providers: [alpha, beta]
    offers:
      - {provider: alpha, model: up-a, caching: true, price: {prompt: 1, completion: 1}, estimate: {ttft: 10ms}}
      - {provider: beta, model: up-b, price: {prompt: 2, completion: 2}, estimate: {ttft: 20ms}}
routing: {health: {explore: 0%%}}
`, s.alpha.URL, keyAlpha, s.beta.URL) + more
	s.Shunt = harness.Run(t, s.config, harness.Options{Args: args})
	return s
}

var client = &http.Client{Timeout: time.Minute}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
}

func (a answer) id() string       { return a.header.Get("x-request-id") }
func (a answer) provider() string { return a.header.Get("x-provider") }

// send posts a body and returns the answer when it is there to its end.
func (s *site) send(t testing.TB, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("authorization", "Bearer "+keyClient)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header}
}

const chatPath = "/v1/chat/completions"

// chat is a request body for a model, with more fields: `,"stream":true`.
func chat(model, more string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]%s}`, model, prompt, more)
}
