package chaos

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shunt-gateway/shunt/envoy/runner"
	"github.com/shunt-gateway/shunt/test/harness"
)

// side is an Envoy that somebody else runs and rotates the logs of, and a shunt that
// serves it.
type side struct {
	harness.Shunt // URL and Dir alone
	admin         string
	envoy, shunt  *exec.Cmd
}

func startSide(t *testing.T, config string) *side {
	t.Helper()
	s := &side{}
	s.Dir = t.TempDir()
	listen, admin := harness.FreeAddr(t), harness.FreeAddr(t)
	s.URL, s.admin = "http://"+listen, "http://"+admin
	harness.WriteFile(t, s.Config(), fmt.Sprintf("listen: %s\nadmin: %s\n%s", listen, admin, config))
	bootstrap, err := harness.Command("render", "envoy", "--with-secrets", "-c", s.Config()).Output()
	if err != nil {
		t.Fatalf("render: %v", err)
	}
	file := filepath.Join(s.Dir, "envoy.yaml")
	harness.WriteFile(t, file, string(bootstrap))
	binary, err := runner.Search{}.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t)
	s.envoy = s.start(t, exec.Command(binary.Path, "-c", file, "--disable-hot-restart", "--concurrency", "1", "-l", "error",
		"--file-flush-interval-msec", "50"))
	harness.Eventually(t, "Envoy serves", func() error { return ok(s.URL + "/v1/models") })
	return s
}

func ok(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

func (s *side) start(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	said, err := os.CreateTemp(s.Dir, "said")
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
	s.shunt = s.start(t, harness.Command("serve", "-c", s.Config()))
	harness.Eventually(t, "shunt serves", func() error { return ok(s.admin + "/readyz") })
}

// rotate does what logrotate would.
func (s *side) rotate(t *testing.T, how string) {
	t.Helper()
	path := filepath.Join(s.Dir, "ends.jsonl")
	if how == "rename" {
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		if err := s.envoy.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, path+".1", string(data))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
}

// Under shunt serve the journal is where billing.journal says, and its operator's to
// rotate. What ends while no shunt runs is settled, whichever file it stands in.
func TestServeWithJournal(t *testing.T) {
	for _, how := range []string{"rename", "copytruncate"} {
		t.Run(how, func(t *testing.T) {
			p := newProvider(t)
			s := startSide(t, p.config("sinks: [{file: events.jsonl}], settle_timeout: 30s, journal: ends.jsonl"))
			sink, journal := filepath.Join(s.Dir, "events.jsonl"), filepath.Join(s.Dir, "ends.jsonl")
			for _, rotated := range []string{"after", "before"} {
				harness.Eventually(t, "Envoy and shunt serve", func() error {
					if _, status := chat(&s.Shunt, body); status != http.StatusOK {
						return fmt.Errorf("status %d", status)
					}
					return nil
				})
				st := begin(t, &s.Shunt)
				_ = s.shunt.Process.Kill()
				_ = s.shunt.Wait()
				if rotated == "before" {
					s.rotate(t, how)
				}
				for range 3 {
					p.gate <- struct{}{}
				}
				if text, err := st.rest(); err != nil || !strings.Contains(text, "[DONE]") {
					t.Errorf("the client's stream: %q, %v", text, err)
				}
				harness.Eventually(t, "Envoy writes the end down", func() error { return holds(journal, st.id) })
				if rotated == "after" {
					s.rotate(t, how)
				}
				s.serve(t)
				check(t, settled(t, sink, map[string]bool{st.id: true}), "completed")
			}
		})
	}
}

func holds(path, text string) error {
	data, err := os.ReadFile(path)
	if err == nil && !strings.Contains(string(data), text) {
		err = fmt.Errorf("%s is not in %s", text, path)
	}
	return err
}
