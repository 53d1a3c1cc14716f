package sessions

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

// Three instances on a cluster of three: what one learns, all know; one server less
// changes nothing.
func TestInstances(t *testing.T) {
	t.Parallel()
	nodes, urls := startNATS(t)
	one := startSite(t, fmt.Sprintf("state: {nats: %q, replicas: 3}\n", urls))
	two, three := one.another(t), one.another(t)
	ann := asEdge("ann")

	save := func(s *site, provider string) {
		t.Helper()
		harness.Eventually(t, "a PATCH is taken", func() error {
			if a, _ := s.preferences(t, http.MethodPatch, `{"preferredProviders":["`+provider+`"]}`, ann...); a.status != http.StatusOK {
				return fmt.Errorf("%d %s", a.status, a.body)
			}
			return nil
		})
		if a := s.chat(t, hello, ann...); a.header.Get("x-provider") != provider {
			t.Errorf("the same instance, at once: got %s, want %s", a.header.Get("x-provider"), provider)
		}
	}
	knows := func(s *site, provider string) {
		t.Helper()
		harness.Eventually(t, "another instance sees it", func() error {
			if a := s.chat(t, hello, ann...); a.header.Get("x-provider") != provider {
				return fmt.Errorf("served by %s", a.header.Get("x-provider"))
			}
			return nil
		})
	}
	save(one, "gamma")
	knows(two, "gamma")
	knows(three, "gamma")
	nodes[0].stop()
	save(two, "beta")
	knows(one, "beta")
	knows(three, "beta")

	t.Run("FALL-3 a 429 on one cools the offer everywhere", func(t *testing.T) {
		first := strings.Replace(hello, `{`, `{"provider":{"order":["alpha"]},`, 1)
		one.providers["alpha"].Next(demo.Behaviour{Fail: &demo.Failure{
			Status: http.StatusTooManyRequests, Headers: map[string]string{"retry-after": "120"},
		}})
		if a := one.chat(t, first); a.header.Get("x-attempts") != "2" {
			t.Fatalf("got %d after %s attempts", a.status, a.header.Get("x-attempts"))
		}
		for _, s := range []*site{one, two, three} {
			harness.Eventually(t, "alpha is left alone", func() error {
				if a := s.chat(t, first); a.header.Get("x-provider") == "alpha" {
					return fmt.Errorf("served by alpha")
				}
				return nil
			})
		}
	})
}
