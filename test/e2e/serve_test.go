package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/envoy/runner"
	"github.com/shunt-gateway/shunt/test/harness"
)

// side is an Envoy that runs on a rendered file, and a shunt that serves it (CMD-2,
// CMD-5).
type side struct {
	url, dir string
	envoy    *exec.Cmd
	shunt    *exec.Cmd
}

func startSide(t *testing.T, yaml string) *side {
	t.Helper()
	s := &side{dir: t.TempDir()}
	listen := harness.FreeAddr(t)
	s.url = "http://" + listen
	file := filepath.Join(s.dir, "shunt.yaml")
	harness.WriteFile(t, file, fmt.Sprintf("listen: %s\nadmin: %s\nbilling: {sinks: [{file: events.jsonl}]}\n%s", listen, harness.FreeAddr(t), yaml))
	bootstrap, err := harness.Command("render", "envoy", "--with-secrets", "-c", file).Output()
	if err != nil {
		t.Fatalf("render: %v", err)
	}
	harness.WriteFile(t, filepath.Join(s.dir, "envoy.yaml"), string(bootstrap))
	binary, err := runner.Search{}.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.envoy = s.start(t, exec.Command(binary.Path, "-c", filepath.Join(s.dir, "envoy.yaml"), "--disable-hot-restart", "--concurrency", "1", "-l", "error"))
	s.serve(t)
	return s
}

func (s *side) start(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	said, err := os.CreateTemp(s.dir, "said")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, err := os.ReadFile(said.Name()); err == nil && t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, text)
		}
	})
	return cmd
}

func (s *side) serve(t *testing.T) {
	t.Helper()
	s.shunt = s.start(t, harness.Command("serve", "-c", filepath.Join(s.dir, "shunt.yaml")))
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
			_ = s.shunt.Process.Kill()
			_ = s.shunt.Wait()
			s.checkDead(t, failure, got)
			s.serve(t)
			s.until(t, decided, got)
			harness.Eventually(t, "shunt answers its own paths again", func() error {
				if a := get(t, s.url+"/v1/models"); a.Status != 200 {
					return errors.New(a.Body)
				}
				return nil
			})
			_ = s.shunt.Process.Signal(syscall.SIGTERM)
			if err := s.shunt.Wait(); err != nil {
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
	file := filepath.Join(s.dir, "shunt.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, file, strings.Replace(string(text), "model: up", "model: down", 1))
	s.until(t, `{"model":"down","x":1e0}`, got)
	said, err := filepath.Glob(filepath.Join(s.dir, "said*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range said {
		if text, err := os.ReadFile(f); err != nil || strings.Contains(string(text), "going on without Envoy") {
			t.Errorf("shunt waited for an Envoy that does not ask: %v\n%s", err, text)
		}
	}
}

// asked is the request of TestDead.
const asked = `{"model":"m","provider":"p0","x":1e0}`

// until sends it until the provider gets what it should.
func (s *side) until(t *testing.T, want string, got <-chan string) {
	t.Helper()
	harness.Eventually(t, "the provider gets "+want, func() error {
		resp, err := client.Post(s.url+chatPath, "application/json", strings.NewReader(asked))
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

func (s *side) checkDead(t *testing.T, failure string, got <-chan string) {
	t.Helper()
	begin := time.Now()
	a := post(t, s.url+chatPath, asked)
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
	get(t, s.url+"/v1/models").wantError(t, 503, "overloaded", "")
}
