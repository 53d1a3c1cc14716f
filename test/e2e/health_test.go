package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

// FALL-3, SEL-11: a 429 with retry-after moves its offer behind the usable ones for
// that long, also while its request still streams; a request that needs it still
// gets it.
func TestCooldown(t *testing.T) {
	t.Parallel()
	p := []*harness.Provider{
		harness.StartProvider(t, demo.Config{Name: "p0"}), harness.StartProvider(t, demo.Config{Name: "p1"}),
	}
	s := harness.Run(t, fmt.Sprintf(`providers:
  p0: {endpoint: %q}
  p1: {endpoint: %q}
models:
  m:
    offers:
      - {provider: p0, model: a, price: {prompt: 1, completion: 1}, estimate: {ttft: 1ms}}
      - {provider: p1, model: b, price: {prompt: 2, completion: 2}, estimate: {ttft: 900ms}}
`, p[0].URL, p[1].URL))
	chat := func() answer {
		return post(t, s.URL+"/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"hello"}]}`)
	}
	if a := chat(); a.Provider() != "p0" {
		t.Fatalf("got %d from %s", a.Status, a.Provider())
	}
	p[0].Next(demo.Behaviour{Fail: &demo.Failure{Status: http.StatusTooManyRequests, Headers: map[string]string{"retry-after": "60"}}})
	if a := chat(); a.Provider() != "p1" || a.Attempts() != "2" {
		t.Fatalf("got %d from %s after %s attempts", a.Status, a.Provider(), a.Attempts())
	}
	harness.Eventually(t, "FALL-3: p0 cools down", func() error {
		if a := chat(); a.Provider() != "p1" || a.Attempts() != "1" {
			return fmt.Errorf("served by %s after %s attempts", a.Provider(), a.Attempts())
		}
		return nil
	})
	p[1].Set(demo.Behaviour{Fail: &demo.Failure{Status: http.StatusServiceUnavailable}})
	if a := chat(); a.Status != http.StatusOK || a.Provider() != "p0" {
		t.Errorf("SEL-11: got %d from %s: the offer that cools down was not tried", a.Status, a.Provider())
	}
}
