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
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait in tests. It is never an expectation.
const patience = 2 * time.Minute

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
	var flags []string
	if Race {
		flags = []string{"-race"}
	}
	if err := build(Binary, flags...); err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		return 1
	}
	code := m.Run()
	for _, f := range slices.Backward(atExit) {
		if err := f(code != 0); err != nil {
			fmt.Fprintln(os.Stderr, "harness: after the last test:", err)
			code = 1
		}
	}
	return code
}

func build(path string, flags ...string) error {
	args := append([]string{"build", "-o", path}, flags...)
	out, err := exec.Command("go", append(args, "github.com/shunt-gateway/shunt/cmd/shunt")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build shunt: %w\n%s", err, out)
	}
	return nil
}

var atExit []func(failed bool) error

// AtExit has f called when all tests have run; failed says that one failed. An error
// fails the test binary. Call it before the tests run.
func AtExit(f func(failed bool) error) { atExit = append(atExit, f) }

// Shunt is a running `shunt run` with its Envoy.
type Shunt struct {
	URL   string // http://127.0.0.1:port, where clients go
	Admin string // http://127.0.0.1:port, health and metrics
	Dir   string // where shunt.yaml, events.jsonl and .shunt are
	Cmd   *exec.Cmd

	out    *output
	exited chan struct{}
	err    error // of the process; read it when exited is closed
	once   sync.Once
	events eventFile
}

// Options change how Run starts shunt.
type Options struct {
	Dir  string   // default: a new temporary directory
	Env  []string // added to the environment
	Args []string // added to the command line
	// Fast asks for a shunt without the race detector, which is built when first asked
	// for.
	Fast bool
}

func (o *Options) binary() (string, error) {
	if !Race || !o.Fast {
		return Binary, nil
	}
	return fast()
}

var fast = sync.OnceValues(func() (string, error) {
	path := Binary + "-fast"
	return path, build(path)
})

// Run starts shunt as Start does, in a temporary directory unless opts says where,
// and ends it with the test.
func Run(t testing.TB, yaml string, opts ...Options) *Shunt {
	t.Helper()
	var o Options
	if len(opts) > 0 {
		o = opts[0]
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := Start(yaml, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop(t)
		if t.Failed() {
			t.Logf("shunt said:\n%s", s.Output())
		}
	})
	return s
}

// Start writes the configuration to o.Dir, with listen, admin and a file sink added
// to it, starts shunt with it and waits until it is ready.
func Start(yaml string, o Options) (*Shunt, error) {
	addrs, err := freeAddrs(2)
	if err != nil {
		return nil, err
	}
	s := &Shunt{URL: "http://" + addrs[0], Admin: "http://" + addrs[1], Dir: o.Dir, out: &output{}, exited: make(chan struct{})}
	if err := os.WriteFile(s.Config(), []byte(s.yaml(yaml)), 0o600); err != nil {
		return nil, err
	}
	binary, err := o.binary()
	if err != nil {
		return nil, err
	}
	s.Cmd = exec.Command(binary, append([]string{"run", "-c", s.Config()}, o.Args...)...)
	s.Cmd.Env = append(os.Environ(), o.Env...)
	s.Cmd.Stdout, s.Cmd.Stderr = s.out, s.out
	if err := s.Cmd.Start(); err != nil {
		return nil, fmt.Errorf("start shunt: %w", err)
	}
	go func() { s.err = s.Cmd.Wait(); close(s.exited) }()
	if err := eventually(s.ready); err != nil {
		s.Kill()
		return nil, fmt.Errorf("shunt did not get ready: %w\n%s", err, s.Output())
	}
	return s, nil
}

// yaml completes a configuration.
func (s *Shunt) yaml(rest string) string {
	text := fmt.Sprintf("listen: %s\nadmin: %s\n", strings.TrimPrefix(s.URL, "http://"), strings.TrimPrefix(s.Admin, "http://"))
	if !strings.Contains(rest, "\nbilling:") && !strings.HasPrefix(rest, "billing:") {
		text += "billing: {sinks: [{file: events.jsonl}]}\n"
	}
	return text + rest
}

// Config is the configuration's path.
func (s *Shunt) Config() string { return filepath.Join(s.Dir, "shunt.yaml") }

// Rewrite replaces the configuration, which shunt is watching, by a rename as
// editors do.
func (s *Shunt) Rewrite(t testing.TB, yaml string) {
	t.Helper()
	WriteFile(t, s.Config()+".new", s.yaml(yaml))
	if err := os.Rename(s.Config()+".new", s.Config()); err != nil {
		t.Fatal(err)
	}
}

func (s *Shunt) ready() error {
	select {
	case <-s.exited:
		return permanent{fmt.Errorf("it ended before: %w", s.err)}
	default:
		return s.Ready()
	}
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
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// Close is Stop for a Shunt that no single test owns.
func (s *Shunt) Close() (err error) {
	s.once.Do(func() {
		_ = s.Cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.exited:
		case <-time.After(patience):
			_ = s.Cmd.Process.Kill()
			<-s.exited
			err = fmt.Errorf("shunt did not end on SIGTERM within %v\n%s", patience, s.Output())
			return
		}
		if s.err != nil {
			err = fmt.Errorf("shunt ended with %w\n%s", s.err, s.Output())
		}
	})
	return err
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
	addrs, err := freeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}

// freeAddrs finds different ones: all are taken before the first is let go.
func freeAddrs(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		l, err := Listen()
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		addrs[i] = l.Addr().String()
	}
	return addrs, nil
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
	if err := eventually(f); err != nil {
		t.Fatalf("%s: not within %v: %v", what, patience, err)
	}
}

// permanent is an error that waiting does not mend.
type permanent struct{ error }

func eventually(f func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil || errors.As(err, &permanent{}) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
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
