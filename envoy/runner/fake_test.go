package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/test/leak"
)

// TestMain makes this binary play every part: the tests, Envoy's guard, a fake
// Envoy, and a program with a Runner that is going to be killed.
func TestMain(m *testing.M) {
	GuardMain()
	switch {
	case len(os.Args) == 2 && os.Args[1] == "--version":
		// A link named by its version: …/1.39.0/envoy.
		fmt.Printf("\n%s  version: 9e5580933739775e8bce696a57a2e1bc99368f23/%s/Clean/RELEASE/BoringSSL\n\n",
			os.Args[0], filepath.Base(filepath.Dir(os.Args[0])))
		os.Exit(0)
	case os.Getenv("FAKE_ENVOY") != "":
		os.Exit(fakeEnvoy(os.Getenv("FAKE_ENVOY"), os.Getenv("FAKE_DIR")))
	case os.Getenv("RUNNER_HELPER") != "":
		os.Exit(helper())
	}
	// The race detector makes each of the many processes sleep for a second at
	// its end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(leak.Check(m.Run()))
}

// fakeEnvoy behaves in one of the ways that an Envoy may. Files in dir steer it
// and say what it did.
func fakeEnvoy(mode, dir string) int {
	life := nextLife(dir)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	switch mode {
	case "crash":
		fmt.Fprintln(os.Stderr, `critical main it\'s no use`)
		return 3
	case "crash-twice":
		if life <= 2 {
			return 3
		}
	case "hang":
		term = nil
		select {}
	case "port":
		fmt.Fprintln(os.Stderr, `error config listener \'l\' failed to bind or apply socket options: cannot bind \'127.0.0.1:10000\': Address already in use`)
		fmt.Fprintln(os.Stderr, `critical main error `+"`"+`cannot bind \'127.0.0.1:10000\': Address already in use`+"`"+` initializing config \'x\'`)
		fmt.Fprintln(os.Stderr, `cannot bind '127.0.0.1:10000': Address already in use`)
		return 1
	case "port-xds": // the listener came later: Envoy goes on without it
		fmt.Fprintln(os.Stderr, `error config listener \'l\' failed to bind or apply socket options: cannot bind \'127.0.0.1:10000\': Address already in use`)
	case "stubborn":
		term = nil
		signal.Ignore(syscall.SIGTERM)
	}
	return fakeAdmin(dir, term)
}

// nextLife counts the starts.
func nextLife(dir string) int {
	b, _ := os.ReadFile(filepath.Join(dir, "lives"))
	n, _ := strconv.Atoi(string(b))
	n++
	if err := os.WriteFile(filepath.Join(dir, "lives"), []byte(strconv.Itoa(n)), 0o600); err != nil {
		panic(err)
	}
	return n
}

func fakeAdmin(dir string, term <-chan os.Signal) int {
	socket := regexp.MustCompile(`"path":"([^"]+)"`).FindStringSubmatch(strings.Join(os.Args, " "))[1]
	_ = os.Remove(socket) // Envoy too takes the place of one that was killed
	l, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /healthcheck/fail", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /drain_listeners", func(http.ResponseWriter, *http.Request) {
		if err := os.WriteFile(filepath.Join(dir, "drained"), nil, 0o600); err != nil {
			panic(err)
		}
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		busy := 0
		if _, err := os.Stat(filepath.Join(dir, "busy")); err == nil {
			busy = 1
		}
		_, _ = fmt.Fprintf(w, "http.admin.downstream_rq_active: 1\nhttp.in.downstream_rq_active: %d\nlistener.x.http.in.downstream_rq_active: %d\n", busy, busy)
	})
	go func() { panic(http.Serve(l, mux)) }()
	<-term
	return 0
}

// fake is a Runner with a fake Envoy, and the directory that steers it.
type fake struct {
	*Runner
	dir  string
	done chan error
	stop context.CancelFunc
}

func startFake(t *testing.T, mode string, change func(*Options)) *fake {
	t.Helper()
	f := &fake{dir: t.TempDir(), done: make(chan error, 1)}
	opt := Options{
		Binary: os.Args[0], Bootstrap: []byte("{}"), RunDir: runDirFor(t),
		Env:    []string{"FAKE_ENVOY=" + mode, "FAKE_DIR=" + f.dir},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Drain:  time.Minute, Linger: time.Millisecond, Kill: time.Minute, Start: time.Minute,
		Restart: RestartPolicy{First: time.Millisecond, Max: 2 * time.Millisecond},
	}
	if change != nil {
		change(&opt)
	}
	var err error
	if f.Runner, err = New(opt); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.stop = cancel
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		f.done <- f.Run(ctx)
	}()
	t.Cleanup(func() {
		f.Hurry()
		cancel()
		<-finished
	})
	return f
}

// runDirFor is a short path: sockets lie in it.
func runDirFor(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "shunt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "run")
}

// wait is what Run returns.
func (f *fake) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-f.done:
		return err
	case <-time.After(3 * time.Minute):
		t.Fatal("Run does not return")
		return nil
	}
}

func (f *fake) stopAndWait(t *testing.T) {
	t.Helper()
	f.stop()
	if err := f.wait(t); err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
}

// eventually fails the test unless ok becomes true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !ok() {
		if ctx.Err() != nil {
			t.Fatalf("after a minute still not: %s", what)
		}
		sleep(ctx, 5*time.Millisecond)
	}
}

func (f *fake) has(name string) bool {
	_, err := os.Stat(filepath.Join(f.dir, name))
	return err == nil
}

func (f *fake) set(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *fake) running() bool { return f.Status().State == Running }

// isGone reports whether no process has this pid; a zombie does not count.
func isGone(pid int) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return true
	}
	return procStart(pid) == ""
}
