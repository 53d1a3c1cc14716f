// Package harness runs the real thing for tests: fake providers, the shunt binary,
// and the Envoy that it starts. Everything listens on free loopback ports and ends
// with the test.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait in tests. It is never an expectation.
const patience = 60 * time.Second

// Binary is the shunt that tests run; Build sets it.
var Binary string

// Build compiles shunt once for a test binary and runs the tests. It is TestMain's
// body: os.Exit(harness.Build(m)).
func Build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "shunt-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	Binary = filepath.Join(dir, "shunt")
	args := []string{"build", "-o", Binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "github.com/shunt-gateway/shunt/cmd/shunt")...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "harness: build shunt:", err)
		return 1
	}
	return m.Run()
}

// Shunt is a running `shunt run` with its Envoy.
type Shunt struct {
	URL   string // http://127.0.0.1:port, where clients go
	Admin string // http://127.0.0.1:port, health and metrics
	Dir   string // where shunt.yaml, events.jsonl and .shunt are
	Cmd   *exec.Cmd

	out    *output
	exited chan struct{}
	err    error
	once   sync.Once
}

// Options change how Run starts shunt.
type Options struct {
	Dir  string   // default: a new temporary directory
	Env  []string // added to the environment
	Args []string // added to the command line
}

// Run writes the configuration, with listen, admin and a file sink added to it,
// starts shunt with it and waits until it is ready. It ends with the test.
func Run(t testing.TB, yaml string, opts ...Options) *Shunt {
	t.Helper()
	var o Options
	if len(opts) > 0 {
		o = opts[0]
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	listen, admin := FreeAddr(t), FreeAddr(t)
	text := fmt.Sprintf("listen: %s\nadmin: %s\n", listen, admin)
	if !strings.Contains(yaml, "\nbilling:") && !strings.HasPrefix(yaml, "billing:") {
		text += "billing: {sinks: [{file: events.jsonl}]}\n"
	}
	WriteFile(t, filepath.Join(o.Dir, "shunt.yaml"), text+yaml)
	s := &Shunt{URL: "http://" + listen, Admin: "http://" + admin, Dir: o.Dir, out: &output{}}
	s.start(t, o)
	return s
}

func (s *Shunt) start(t testing.TB, o Options) {
	t.Helper()
	s.exited = make(chan struct{})
	s.Cmd = exec.Command(Binary, append([]string{"run", "-c", filepath.Join(s.Dir, "shunt.yaml")}, o.Args...)...)
	s.Cmd.Env = append(os.Environ(), o.Env...)
	s.Cmd.Stdout, s.Cmd.Stderr = s.out, s.out
	if err := s.Cmd.Start(); err != nil {
		t.Fatalf("start shunt: %v", err)
	}
	go func() { s.err = s.Cmd.Wait(); close(s.exited) }()
	t.Cleanup(func() {
		s.Stop(t)
		if t.Failed() {
			t.Logf("shunt said:\n%s", s.out.String())
		}
	})
	Eventually(t, "shunt is ready", func() error {
		select {
		case <-s.exited:
			t.Fatalf("shunt ended before it was ready: %v\n%s", s.err, s.out.String())
		default:
		}
		return s.Ready()
	})
}

// Ready asks /readyz once.
func (s *Shunt) Ready() error {
	resp, err := client.Get(s.Admin + "/readyz")
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz: %d %s", resp.StatusCode, body)
	}
	return nil
}

// Output is what shunt and its Envoy have printed so far.
func (s *Shunt) Output() string { return s.out.String() }

// Stop ends shunt with SIGTERM and waits; it must end by itself and cleanly. It may
// be called more than once.
func (s *Shunt) Stop(t testing.TB) {
	t.Helper()
	s.once.Do(func() {
		_ = s.Cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.exited:
		case <-time.After(patience):
			_ = s.Cmd.Process.Kill()
			<-s.exited
			t.Errorf("shunt did not end on SIGTERM within %v", patience)
			return
		}
		if s.err != nil {
			t.Errorf("shunt ended with %v\n%s", s.err, s.out.String())
		}
	})
}

// Kill ends shunt with SIGKILL, as a crash would, and waits for it to be gone.
func (s *Shunt) Kill() {
	s.once.Do(func() {
		_ = s.Cmd.Process.Kill()
		<-s.exited
	})
}

var client = &http.Client{Timeout: patience}

// FreeAddr is a loopback address that was free a moment ago.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// WriteFile writes a test's file.
func WriteFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Eventually polls until f has no error, and fails the test when patience ends.
func Eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		case <-tick.C:
		}
	}
}

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
