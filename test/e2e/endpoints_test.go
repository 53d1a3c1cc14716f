package e2e

import (
	"net/http"
	"os"
	"testing"

	"github.com/shunt-gateway/shunt/policy/conformance"
	"github.com/shunt-gateway/shunt/test/harness"
)

// TestEndpoints sends the cases of policy/testdata/endpoints through Envoy: API-1 to
// API-4, and API-6 on their paths. What is answered has an entity tag that is honoured.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../policy/testdata/endpoints/endpoints.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := conformance.ParseEndpoints(string(text))
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile("../../policy/testdata/endpoints/catalog.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := harness.Run(t, string(config))
	send := func(t *testing.T, method, path string, headers ...string) answer {
		t.Helper()
		req := newPost(t, s.URL+path, "", headers...)
		req.Method = method
		a := do(t, req)
		if a.ID() == "" || a.Attempts() == "" {
			t.Errorf("FALL-4: %s: %v", method, a.Header)
		}
		return a
	}
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			a := send(t, c.Method, c.Path)
			if err := c.Check(a.Status, []byte(a.Body)); err != nil {
				t.Fatal(err)
			}
			if a.Header.Get("content-type") != "application/json" {
				t.Errorf("content-type %q", a.Header.Get("content-type"))
			}
			if c.Status != http.StatusOK {
				return
			}
			tag := a.Header.Get("etag")
			if same := send(t, c.Method, c.Path, "if-none-match", tag); tag == "" || same.Status != http.StatusNotModified || same.Body != "" || same.Header.Get("etag") != tag {
				t.Errorf("etag %q: then %d %s", tag, same.Status, same.Body)
			}
			if other := send(t, c.Method, c.Path, "if-none-match", `"other"`); other.Status != http.StatusOK || other.Body != a.Body {
				t.Errorf("another etag: %d %s", other.Status, other.Body)
			}
			if head := send(t, http.MethodHead, c.Path); head.Status != http.StatusOK || head.Body != "" || head.Header.Get("etag") != tag || head.Header.Get("content-length") != a.Header.Get("content-length") {
				t.Errorf("HEAD: %d %v", head.Status, head.Header)
			}
		})
	}
}
