package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/test/harness"
	"github.com/shunt-gateway/shunt/test/pair"
)

// side has an event file.
type side struct{ *pair.Pair }

func startSide(t *testing.T, yaml string) side {
	t.Helper()
	return side{pair.Start(t, "billing: {sinks: [{file: events.jsonl}]}\n"+yaml)}
}

// SEC-5: with shunt dead, and Envoy alive, every request is answered at once as
// routing.on_filter_failure says.
func TestDead(t *testing.T) {
	t.Parallel()
	for _, failure := range []string{"deny", "allow"} {
		t.Run("SEC-5 "+failure, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 1000)
			p0 := harness.StartServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got <- r.RequestURI + " " + r.Header.Get("authorization") + " " + readAll(r)
				reply(200, "application/json", used)(w, r)
			}), nil)
			s := startSide(t, fmt.Sprintf("routing: {on_filter_failure: %s}\nproviders:\n  p0: {endpoint: \"http://%s/base\", api_key: key-p0}\nmodels:\n  m: {price: {prompt: 1, completion: 1}, offers: [{provider: p0, model: up}]}\n", failure, p0.Addr))
			const decided = `/base/chat/completions Bearer key-p0 {"model":"up","x":1e0}`
			s.until(t, decided, got)
			_ = s.Serve.Process.Kill()
			_ = s.Serve.Wait()
			s.checkDead(t, failure, got)
			s.Again(t)
			s.until(t, decided, got)
			harness.Eventually(t, "shunt answers its own paths again", func() error {
				if a := get(t, s.URL+"/v1/models"); a.Status != 200 {
					return errors.New(a.Body)
				}
				return nil
			})
			_ = s.Serve.Process.Signal(syscall.SIGTERM)
			if err := s.Serve.Wait(); err != nil {
				t.Errorf("CMD-2: shunt serve ended with %v", err)
			}
		})
	}
}

// CMD-2: beside an Envoy that runs on a rendered file, which acknowledges nothing, a
// reload is in force without waiting for it.
func TestServeReload(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1000)
	p0 := harness.StartServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- readAll(r)
		reply(200, "application/json", used)(w, r)
	}), nil)
	s := startSide(t, fmt.Sprintf("providers:\n  p0: {endpoint: \"http://%s\"}\nmodels:\n  m: {offers: [{provider: p0, model: up}]}\n", p0.Addr))
	s.until(t, `{"model":"up","x":1e0}`, got)
	text, err := os.ReadFile(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, s.Config(), strings.Replace(string(text), "model: up", "model: down", 1))
	s.until(t, `{"model":"down","x":1e0}`, got)
	for _, f := range s.Said(t) {
		if text, err := os.ReadFile(f); err != nil || strings.Contains(string(text), "going on without Envoy") {
			t.Errorf("shunt waited for an Envoy that does not ask: %v\n%s", err, text)
		}
	}
}

// asked is the request of TestDead.
const asked = `{"model":"m","provider":"p0","x":1e0}`

// until sends it until the provider gets what it should.
func (s side) until(t *testing.T, want string, got <-chan string) {
	t.Helper()
	harness.Eventually(t, "the provider gets "+want, func() error {
		resp, err := client.Post(s.URL+chatPath, "application/json", strings.NewReader(asked))
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			return errors.New(resp.Status)
		}
		if text := newest(got); text != want {
			return errors.New(text)
		}
		return nil
	})
}

// newest is the last request that a provider got by now.
func newest(got <-chan string) (text string) {
	for {
		select {
		case text = <-got:
		default:
			return text
		}
	}
}

func (s side) checkDead(t *testing.T, failure string, got <-chan string) {
	t.Helper()
	begin := time.Now()
	a := post(t, s.URL+chatPath, asked)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("SEC-5: it took %v", took)
	}
	if failure == "deny" {
		a.wantError(t, 503, "overloaded", "")
	} else {
		a.want(t, 200, "p0", 1)
		if text, want := newest(got), "/base/chat/completions Bearer key-p0 "+asked; text != want {
			t.Errorf("p0 got %q, want %q", text, want)
		}
	}
	get(t, s.URL+"/v1/models").wantError(t, 503, "overloaded", "")
}
