package sessions

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

// forms are the ways in which a provider says how long it wants to be left alone.
var forms = map[string]func(time.Duration) map[string]string{
	"seconds": func(d time.Duration) map[string]string {
		return map[string]string{"retry-after": fmt.Sprint(int(d.Seconds()))}
	},
	"milliseconds": func(d time.Duration) map[string]string {
		return map[string]string{"retry-after-ms": fmt.Sprint(d.Milliseconds())}
	},
	"date": func(d time.Duration) map[string]string {
		return map[string]string{"retry-after": time.Now().Add(d).UTC().Format(http.TimeFormat)}
	},
}

// startSites starts instances of one site on one NATS, with a model for each form and
// length of a wait.
func startSites(t *testing.T, n int, nats string) []*site {
	t.Helper()
	s := &site{signer: newSigner(t), providers: map[string]*harness.Provider{}}
	more := ""
	for form := range forms {
		for _, length := range []string{"short", "long"} {
			more += "  " + form + "-" + length + ":\n    offers:" + strings.NewReplacer("model: ", "model: "+form+"-"+length+"-").Replace(offers)
		}
	}
	s.config = strings.NewReplacer("  one:\n", more+"  one:\n", "measured: false, ", "").Replace(s.yaml(t)) +
		fmt.Sprintf("state: {nats: %q}\n", nats)
	s.run(t)
	all := []*site{s}
	for len(all) < n {
		all = append(all, s.another(t))
	}
	return all
}

func (s *site) limit(model string, headers map[string]string) {
	s.providers["alpha"].SetFor(model+"-a", demo.Behaviour{Fail: &demo.Failure{Status: http.StatusTooManyRequests, Headers: headers}})
}

func (s *site) relieve(model string) { s.providers["alpha"].SetFor(model+"-a", demo.Behaviour{}) }

func ask(model string) string {
	return `{"model":"` + model + `","messages":[{"role":"user","content":"hello"}],"provider":{"order":["alpha"]}}`
}

// avoids waits until an instance asks another than alpha first.
func (s *site) avoids(t *testing.T, model string) {
	t.Helper()
	harness.Eventually(t, "alpha is left alone", func() error {
		if a := s.chat(t, ask(model)); a.header.Get("x-provider") == "alpha" || a.header.Get("x-attempts") != "1" {
			return fmt.Errorf("%s served, after %s attempts", a.header.Get("x-provider"), a.header.Get("x-attempts"))
		}
		return nil
	})
}

// FALL-3: what a provider asks of one instance all of them do, in whatever form it asks,
// and one that comes later too; and no longer than that.
func TestRetryAfterEverywhere(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	startNode(t, port, t.TempDir())
	nats := fmt.Sprintf("nats://127.0.0.1:%d", port)
	all := startSites(t, 3, nats)
	t.Run("all", func(t *testing.T) {
		for form, headers := range forms {
			t.Run("FALL-3 one is told two minutes in "+form, func(t *testing.T) {
				t.Parallel()
				model := form + "-long"
				all[0].limit(model, headers(2*time.Minute))
				if a := all[0].chat(t, ask(model)); a.status != http.StatusOK || a.header.Get("x-attempts") != "2" {
					t.Fatalf("%d after %s attempts", a.status, a.header.Get("x-attempts"))
				}
				all[0].relieve(model) // alpha itself would serve the others
				for _, s := range all {
					s.avoids(t, model)
				}
			})
			t.Run("FALL-3 three seconds in "+form, func(t *testing.T) {
				t.Parallel()
				model, began := form+"-short", time.Now().Truncate(time.Second)
				for i, s := range all {
					harness.Eventually(t, "the wait is heard of", func() error {
						all[0].limit(model, headers(3*time.Second)) // anew, should it be over before
						if a := s.chat(t, ask(model)); a.header.Get("x-attempts") != "1" {
							return fmt.Errorf("instance %d asks alpha", i)
						}
						return nil
					})
				}
				all[0].relieve(model)
				for i, s := range all {
					harness.Eventually(t, "the wait is over", func() error {
						if a := s.chat(t, ask(model)); a.header.Get("x-provider") != "alpha" {
							return fmt.Errorf("%s serves", a.header.Get("x-provider"))
						}
						return nil
					})
					if took := time.Since(began); took < 3*time.Second {
						t.Errorf("instance %d asks alpha again after %v", i, took)
					}
				}
			})
		}
	})
	t.Run("FALL-3 a newcomer", func(t *testing.T) {
		newcomer := all[0].another(t)
		for form := range forms {
			newcomer.avoids(t, form+"-long")
		}
	})
}

// While NATS is away each instance goes by what it sees; when it is back the others
// hear of that.
func TestHealthWhileNATSIsAway(t *testing.T) {
	t.Parallel()
	port, dir := freePorts(t, 1)[0], t.TempDir()
	node := startNode(t, port, dir)
	all := startSites(t, 2, fmt.Sprintf("nats://127.0.0.1:%d", port))
	node.stop()
	harness.Eventually(t, "NATS is known to be away", func() error {
		if a := all[0].admin(t, "/readyz"); !strings.Contains(a.body, `"connected":false`) {
			return fmt.Errorf("%s", a.body)
		}
		return nil
	})
	const model = "seconds-long"
	all[0].limit(model, forms["seconds"](5*time.Minute))
	if a := all[0].chat(t, ask(model)); a.header.Get("x-attempts") != "2" {
		t.Fatalf("%d after %s attempts", a.status, a.header.Get("x-attempts"))
	}
	all[0].relieve(model)
	all[0].avoids(t, model)
	if a := all[1].chat(t, ask(model)); a.header.Get("x-provider") != "alpha" {
		t.Errorf("the other instance: %d from %s", a.status, a.header.Get("x-provider"))
	}
	startNode(t, port, dir)
	all[1].avoids(t, model)
}
