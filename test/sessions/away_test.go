package sessions

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
)

// While NATS is away requests are routed, by preferences that are known; changes are
// 503; /readyz says so. When it is back, everything is, without a restart.
func TestNATSAway(t *testing.T) {
	t.Parallel()
	port, dir := freePorts(t, 1)[0], t.TempDir()
	node := startNode(t, port, dir)
	s := startSite(t, fmt.Sprintf("state: {nats: \"nats://127.0.0.1:%d\"}\n", port))
	ann := asEdge("ann")
	patch := func(provider string) answer {
		a, _ := s.preferences(t, http.MethodPatch, `{"preferredProviders":["`+provider+`"]}`, ann...)
		return a
	}
	if a := patch("gamma"); a.status != http.StatusOK {
		t.Fatalf("PATCH: %d %s", a.status, a.body)
	}
	if a := s.chat(t, hello, ann...); a.header.Get("x-provider") != "gamma" {
		t.Fatalf("served by %s", a.header.Get("x-provider"))
	}

	node.stop()
	harness.Eventually(t, "/readyz says that NATS is away", func() error {
		a := s.admin(t, "/readyz")
		if a.status != http.StatusOK || !strings.Contains(a.body, `"connected":false`) {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
	if a := s.chat(t, hello, ann...); a.status != http.StatusOK || a.header.Get("x-provider") != "gamma" {
		t.Errorf("routed from the cache: got %d from %s", a.status, a.header.Get("x-provider"))
	}
	if a := s.chat(t, cachingBody("s", "f", "l", ""), ann...); a.status != http.StatusOK {
		t.Errorf("a sticky request: got %d %s", a.status, a.body)
	}
	if a := patch("beta"); a.status != http.StatusServiceUnavailable || a.header.Get("retry-after") == "" {
		t.Errorf("PATCH without NATS: got %d %s", a.status, a.body)
	}

	startNode(t, port, dir)
	harness.Eventually(t, "a PATCH is taken again", func() error {
		if a := patch("beta"); a.status != http.StatusOK {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
	if a := s.chat(t, hello, ann...); a.header.Get("x-provider") != "beta" {
		t.Errorf("after NATS came back: served by %s", a.header.Get("x-provider"))
	}
}

// An instance that starts while NATS is away knows callers as the others do when it is
// back, without a restart.
func TestNATSAwayAtStart(t *testing.T) {
	t.Parallel()
	port, dir := freePorts(t, 1)[0], t.TempDir()
	node := startNode(t, port, dir)
	one := startSite(t, fmt.Sprintf("state: {nats: \"nats://127.0.0.1:%d\"}\n", port))
	ann := asEdge("ann")
	if a, _ := one.preferences(t, http.MethodPatch, `{"preferredProviders":["gamma"]}`, ann...); a.status != http.StatusOK {
		t.Fatalf("PATCH: %d %s", a.status, a.body)
	}
	node.stop()
	two := one.another(t)
	if a := two.chat(t, hello, ann...); a.status != http.StatusOK {
		t.Errorf("without NATS: got %d %s", a.status, a.body)
	}
	if a, _ := two.preferences(t, http.MethodPatch, `{"preferredProviders":["beta"]}`, ann...); a.status != http.StatusServiceUnavailable {
		t.Errorf("PATCH without NATS: got %d %s", a.status, a.body)
	}
	startNode(t, port, dir)
	harness.Eventually(t, "the other instance finds what was saved", func() error {
		if a := two.chat(t, hello, ann...); a.header.Get("x-provider") != "gamma" {
			return fmt.Errorf("served by %s", a.header.Get("x-provider"))
		}
		return nil
	})
}

// admin asks the operators' side.
func (s *site) admin(t *testing.T, path string) answer {
	t.Helper()
	return send(t, http.MethodGet, s.Admin+path, "")
}
