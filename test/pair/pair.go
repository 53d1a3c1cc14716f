// Package pair runs an Envoy of somebody else's beside a shunt that serves it.
package pair

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shunt-gateway/shunt/envoy/runner"
	"github.com/shunt-gateway/shunt/test/harness"
)

// Pair is an Envoy that somebody else runs, on a rendered file, and a shunt that serves
// it (CMD-2, CMD-5).
type Pair struct {
	harness.Shunt // URL and Dir alone
	Admin         string
	Envoy, Serve  *exec.Cmd
}

// Start starts both and waits until they answer. They end with the test. yaml is
// the configuration without listen and admin.
func Start(t testing.TB, yaml string) *Pair {
	t.Helper()
	s := &Pair{}
	s.Dir = t.TempDir()
	listen, admin := harness.FreeAddr(t), harness.FreeAddr(t)
	s.URL, s.Admin = "http://"+listen, "http://"+admin
	harness.WriteFile(t, s.Config(), fmt.Sprintf("listen: %s\nadmin: %s\n%s", listen, admin, yaml))
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
	s.Again(t)
	s.Envoy = s.start(t, exec.Command(binary.Path, "-c", file, "--disable-hot-restart", "--concurrency", "1", "-l", "error",
		"--file-flush-interval-msec", "50"))
	harness.Eventually(t, "Envoy serves", func() error { return answers(s.URL + "/v1/models") })
	return s
}

// Again starts shunt, which has ended.
func (s *Pair) Again(t testing.TB) {
	t.Helper()
	s.Serve = s.start(t, harness.Command("serve", "-c", s.Config()))
	harness.Eventually(t, "shunt serves", func() error { return answers(s.Admin + "/readyz") })
}

// Said are the files of what both have said.
func (s *Pair) Said(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.Dir, "said*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (s *Pair) start(t testing.TB, cmd *exec.Cmd) *exec.Cmd {
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

func answers(url string) error {
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
