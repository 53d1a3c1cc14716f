package runner

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRunsAndStopsLeavingNothing(t *testing.T) {
	f := startFake(t, "serve", nil)
	eventually(t, "running", f.running)
	if err := f.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
	info, err := os.Stat(filepath.Join(f.opt.RunDir, bootstrapFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("bootstrap: %v, %v; want mode 0600", info, err)
	}
	pid := f.Status().PID
	f.stopAndWait(t)
	if !isGone(pid) {
		t.Errorf("Envoy %d is still there", pid)
	}
	if !f.has("drained") {
		t.Error("Envoy was not drained")
	}
	if _, err := os.Stat(f.opt.RunDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the run directory is still there: %v", err)
	}
	if st := f.Status(); st.State != Stopped || st.Err != nil {
		t.Errorf("status %+v, want stopped", st)
	}
	if err := f.Ready(t.Context()); err == nil {
		t.Error("Ready after the end")
	}
}

func TestRestartsAfterCrashes(t *testing.T) {
	f := startFake(t, "crash-twice", nil)
	eventually(t, "running", f.running)
	if n := f.Status().Restarts; n != 2 {
		t.Errorf("%d restarts, want 2", n)
	}
	pid := f.Status().PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "running again", func() bool {
		st := f.Status()
		return st.State == Running && st.PID != pid
	})
	f.stopAndWait(t)
}

func TestGivesUp(t *testing.T) {
	f := startFake(t, "crash", func(o *Options) { o.Restart.Deaths = 3 })
	err := f.wait(t)
	var gave *GaveUpError
	if !errors.Is(err, ErrGaveUp) || !errors.As(err, &gave) {
		t.Fatalf("Run returned %v, want ErrGaveUp", err)
	}
	if gave.Deaths != 3 || gave.Last != "exit status 3" || len(gave.Tail) != 1 || gave.Tail[0] != "it's no use" {
		t.Errorf("%+v", gave)
	}
	if st := f.Status(); st.State != Failed || !errors.Is(st.Err, ErrGaveUp) {
		t.Errorf("status %+v, want failed", st)
	}
}

func TestPortTaken(t *testing.T) {
	for _, mode := range []string{"port", "port-xds"} {
		t.Run(mode, func(t *testing.T) {
			f := startFake(t, mode, nil)
			err := f.wait(t)
			var be *BindError
			if !errors.Is(err, ErrPortTaken) || !errors.As(err, &be) || be.Address != "127.0.0.1:10000" {
				t.Errorf("Run returned %v, want ErrPortTaken for 127.0.0.1:10000", err)
			}
		})
	}
}

func TestPortTakenBeforeStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	f := startFake(t, "serve", func(o *Options) { o.Listen = []string{l.Addr().String()} })
	if err := f.wait(t); !errors.Is(err, ErrPortTaken) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Run returned %v, want ErrPortTaken with the address", err)
	}
	if f.has("lives") {
		t.Error("Envoy was started all the same")
	}
}

func TestForeignAddressIsNotTaken(t *testing.T) {
	f := startFake(t, "serve", func(o *Options) { o.Listen = []string{"192.0.2.1:80"} })
	err := f.wait(t)
	var be *BindError
	if errors.Is(err, ErrPortTaken) || !errors.As(err, &be) {
		t.Errorf("Run returned %v, want another *BindError", err)
	}
}

func TestHungEnvoyIsKilledAndCounted(t *testing.T) {
	f := startFake(t, "hang", func(o *Options) {
		o.Start = 10 * time.Millisecond
		o.Restart.Deaths = 2
	})
	err := f.wait(t)
	if !errors.Is(err, ErrGaveUp) || !strings.Contains(err.Error(), "no answer within 10ms") {
		t.Errorf("Run returned %v, want ErrGaveUp for want of an answer", err)
	}
}

func TestWaitsForAConfigurationThatTakesLong(t *testing.T) {
	r, err := New(Options{Binary: "/x", RunDir: "/x", Start: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.admin = newAdmin(filepath.Join(t.TempDir(), "s"))
	if err := r.awaitLive(t.Context()); !errors.Is(err, errHung) {
		t.Errorf("without an answer: %v, want errHung", err)
	}
	l, err := net.Listen("unix", r.admin.socket)
	if err != nil {
		t.Fatal(err)
	}
	polls := 0
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if polls++; polls < 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "INITIALIZING\n")
		}
	}))
	s.Listener = l
	s.Start()
	defer s.Close()
	if err := r.admin.ready(t.Context()); !notLive(err) || !strings.Contains(err.Error(), "initializing") {
		t.Errorf("ready: %v, want Envoy's word", err)
	}
	if err := r.awaitLive(t.Context()); err != nil || polls != 4 {
		t.Errorf("with answers: %v after %d polls", err, polls)
	}
}

func TestStubbornEnvoyIsKilled(t *testing.T) {
	f := startFake(t, "stubborn", func(o *Options) { o.Kill = 200 * time.Millisecond })
	eventually(t, "running", f.running)
	pid := f.Status().PID
	f.stopAndWait(t)
	if !isGone(pid) {
		t.Errorf("Envoy %d is still there", pid)
	}
}

func TestDrains(t *testing.T) {
	f := startFake(t, "serve", nil)
	eventually(t, "running", f.running)
	pid := f.Status().PID
	f.set(t, "busy")
	f.stop()
	eventually(t, "drained", func() bool { return f.has("drained") })
	if f.Status().State != Stopping || isGone(pid) {
		t.Errorf("with a request in flight: %+v", f.Status())
	}
	if err := os.Remove(filepath.Join(f.dir, "busy")); err != nil {
		t.Fatal(err)
	}
	if err := f.wait(t); err != nil {
		t.Error(err)
	}
}

func TestHurryAndDrainTimeoutCutDrainingShort(t *testing.T) {
	for name, c := range map[string]struct {
		drain time.Duration
		act   func(*fake)
	}{
		"hurry":   {time.Hour, func(f *fake) { f.Hurry() }},
		"timeout": {10 * time.Millisecond, func(*fake) {}},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, "serve", func(o *Options) { o.Drain = c.drain })
			eventually(t, "running", f.running)
			f.set(t, "busy")
			f.stop()
			c.act(f)
			if err := f.wait(t); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOneRunnerADirectory(t *testing.T) {
	f := startFake(t, "serve", nil)
	eventually(t, "running", f.running)
	g := startFake(t, "serve", func(o *Options) { o.RunDir = f.opt.RunDir })
	if err := g.wait(t); !errors.Is(err, ErrInUse) {
		t.Errorf("Run returned %v, want ErrInUse", err)
	}
	f.stopAndWait(t)
}

func TestRunDirOpenToOthersIsRefused(t *testing.T) {
	dir := runDirFor(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it is the point
		t.Fatal(err)
	}
	f := startFake(t, "serve", func(o *Options) { o.RunDir = dir })
	if err := f.wait(t); err == nil || !strings.Contains(err.Error(), "0755") {
		t.Errorf("Run returned %v, want a refusal", err)
	}
}

func TestNewRefuses(t *testing.T) {
	good := Options{Binary: "/x", RunDir: "/tmp/x"}
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no binary":      {func(o *Options) { o.Binary = "" }, "no Envoy was given"},
		"no run dir":     {func(o *Options) { o.RunDir = "" }, "no run directory"},
		"long run dir":   {func(o *Options) { o.RunDir = "/" + strings.Repeat("x", 100) }, "the system allows 107"},
		"debug log":      {func(o *Options) { o.LogLevel = "debug" }, "keys among them"},
		"odd log level":  {func(o *Options) { o.LogLevel = "loud" }, `"loud"`},
		"nothing at all": {func(*Options) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			opt := good
			c.change(&opt)
			_, err := New(opt)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("New: %v, want %q", err, c.want)
			}
		})
	}
}

func TestNewGuardForOneThatDied(t *testing.T) {
	f := startFake(t, "serve", nil)
	eventually(t, "running", f.running)
	guardOf := func() int {
		dir := &runDir{path: f.opt.RunDir}
		return readRecord(t, dir).Guard
	}
	first := guardOf()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new guard", func() bool { return guardOf() != first })
	f.stopAndWait(t)
	if !isGone(first) {
		t.Error("the first guard is still there")
	}
}

func TestStopDuringBackOff(t *testing.T) {
	f := startFake(t, "crash", func(o *Options) { o.Restart = RestartPolicy{First: time.Hour, Max: time.Hour} })
	eventually(t, "restarting", func() bool { return f.Status().State == Restarting })
	if st := f.Status(); st.PID != 0 || st.Err == nil {
		t.Errorf("status %+v, want no pid and a cause", st)
	}
	f.stopAndWait(t)
}

func TestRestartPolicy(t *testing.T) {
	p := RestartPolicy{First: time.Second, Max: 3 * time.Second, Stable: time.Minute, Deaths: 4, Window: 10 * time.Second}
	now := time.Unix(0, 0)
	var d deaths
	for i, step := range []struct {
		after  time.Duration // since the death before
		uptime time.Duration
		wait   time.Duration
		again  bool
	}{
		{0, 0, time.Second, true},
		{time.Second, 0, 2 * time.Second, true},
		{2 * time.Second, 0, 3 * time.Second, true},
		{11 * time.Second, 0, 3 * time.Second, true},               // the three before are out of the window
		{2 * time.Minute, 2 * time.Minute, time.Second, true},      // a stable life
		{time.Second, 0, 2 * time.Second, true},                    // 1st
		{time.Second, time.Second, 3 * time.Second, true},          // 2nd
		{time.Second, time.Second, 3 * time.Second, true},          // 3rd
		{time.Second, time.Minute - 1, 3 * time.Second, false},     // 4th
		{time.Second, time.Minute, time.Second, true},              // would have been stable
		{10 * time.Second, 9 * time.Second, 2 * time.Second, true}, // 1st again
	} {
		now = now.Add(step.after)
		var wait time.Duration
		var again bool
		d, wait, again = p.next(d, now, step.uptime)
		if wait != step.wait || again != step.again {
			t.Errorf("step %d: wait %v, again %v; want %v, %v", i, wait, again, step.wait, step.again)
		}
	}
}

func TestBackOffGrowsInARunner(t *testing.T) {
	var waits []time.Duration
	r, err := New(Options{
		Binary: os.Args[0], Bootstrap: []byte("{}"), RunDir: runDirFor(t),
		Env: []string{"FAKE_ENVOY=crash", "FAKE_DIR=" + t.TempDir()}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.sleep = func(_ context.Context, d time.Duration) { waits = append(waits, d) }
	if err := r.Run(t.Context()); !errors.Is(err, ErrGaveUp) {
		t.Fatalf("Run returned %v, want ErrGaveUp", err)
	}
	want := []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond}
	if len(waits) != len(want) {
		t.Fatalf("waits %v, want %v", waits, want)
	}
	for i := range want {
		if waits[i] != want[i] {
			t.Errorf("waits %v, want %v", waits, want)
		}
	}
}
