package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/test/harness"
)

// realEnvoy fails the test where there is none: `make envoy` fetches it.
func realEnvoy(t *testing.T) string {
	t.Helper()
	b, err := Search{Roots: []string{"../.."}}.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b.Path
}

// proxyTo is a bootstrap for an Envoy that proxies listen to upstream.
func proxyTo(t *testing.T, listen, upstream string) []byte {
	t.Helper()
	type m = map[string]any
	type l = []any
	address := func(hostPort string) m {
		host, port, err := net.SplitHostPort(hostPort)
		if err != nil {
			t.Fatal(err)
		}
		return m{"socket_address": m{"address": host, "port_value": port}}
	}
	typed := func(name, proto string, fields m) m {
		fields["@type"] = "type.googleapis.com/envoy.extensions.filters." + proto
		return m{"name": name, "typed_config": fields}
	}
	b, err := json.Marshal(m{
		// The Runner puts its own in the place of this one.
		"admin": m{"address": address("127.0.0.1:1")},
		"static_resources": m{
			"listeners": l{m{
				"name": "l", "address": address(listen),
				"filter_chains": l{m{"filters": l{typed("hcm", "network.http_connection_manager.v3.HttpConnectionManager", m{
					"stat_prefix":  "in",
					"http_filters": l{typed("router", "http.router.v3.Router", m{})},
					"route_config": m{"virtual_hosts": l{m{"name": "v", "domains": l{"*"}, "routes": l{m{
						"match": m{"prefix": "/"}, "route": m{"cluster": "u", "timeout": "0s"},
					}}}}},
				})}}},
			}},
			"clusters": l{m{"name": "u", "load_assignment": m{"cluster_name": "u", "endpoints": l{m{"lb_endpoints": l{m{
				"endpoint": m{"address": address(upstream)},
			}}}}}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// slowServer answers /slow with one line at once and a second one when told to.
func slowServer(t *testing.T) (addr string, goOn chan struct{}) {
	t.Helper()
	goOn = make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "one\n")
		if r.URL.Path == "/slow" {
			w.(http.Flusher).Flush()
			select {
			case <-goOn:
			case <-r.Context().Done():
				return
			}
			_, _ = io.WriteString(w, "two\n")
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), goOn
}

// client keeps no connection.
func client(t *testing.T) *http.Client {
	t.Helper()
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
}

func answers(t *testing.T, c *http.Client, addr string) bool {
	t.Helper()
	resp, err := c.Get("http://" + addr + "/")
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return err == nil && string(b) == "one\n"
}

// stream begins a /slow answer; rest reads it to its end.
func stream(t *testing.T, c *http.Client, addr string) (rest func() string) {
	t.Helper()
	resp, err := c.Get("http://" + addr + "/slow")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	body := bufio.NewReader(resp.Body)
	if line, err := body.ReadString('\n'); line != "one\n" {
		t.Fatalf("the answer began with %q, %v", line, err)
	}
	return func() string {
		b, err := io.ReadAll(body)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
}

func startReal(t *testing.T, listen, upstream string) *fake {
	t.Helper()
	bin := realEnvoy(t)
	return startFake(t, "", func(o *Options) {
		o.Binary, o.Env, o.Concurrency = bin, nil, 1
		o.Bootstrap = proxyTo(t, listen, upstream)
		o.Listen = []string{listen}
	})
}

func TestRealEnvoyServesRestartsDrainsAndLeavesNothing(t *testing.T) {
	upstream, goOn := slowServer(t)
	listen := harness.FreeAddr(t)
	f := startReal(t, listen, upstream)
	c := client(t)
	eventually(t, "running", f.running)
	if err := f.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
	// With hot restart, shared memory stays behind.
	if _, info, err := newAdmin(f.Admin()).call(t.Context(), http.MethodGet, "/server_info"); err != nil || !strings.Contains(info, `"hot_restart_version": "disabled"`) {
		t.Errorf("hot restart is not disabled: %v, %.200s", err, info)
	}
	if !answers(t, c, listen) {
		t.Error("Envoy does not answer")
	}
	killed := f.Status().PID
	if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "running again", func() bool { return f.running() && f.Status().PID != killed })
	rest := stream(t, c, listen)
	f.stop()
	eventually(t, "closed to new requests", func() bool { return !answers(t, c, listen) })
	if f.Status().State != Stopping {
		t.Errorf("with a stream in flight: %+v", f.Status())
	}
	close(goOn)
	if got := rest(); got != "two\n" {
		t.Errorf("the stream in flight ended with %q", got)
	}
	if err := f.wait(t); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(f.opt.RunDir); !os.IsNotExist(err) {
		t.Errorf("the run directory is still there: %v", err)
	}
}

func TestRealEnvoyOnAMistakenBootstrap(t *testing.T) {
	bin := realEnvoy(t)
	f := startFake(t, "", func(o *Options) {
		o.Binary, o.Env = bin, nil
		o.Bootstrap = []byte(`{"node": {"id": "n", "bogus": "sk-secret"}}`)
		o.Restart.Deaths = 2
	})
	err := f.wait(t)
	if err == nil || !strings.Contains(err.Error(), "bogus") || strings.Contains(err.Error(), "secret") {
		t.Errorf("Run returned %v, want Envoy's words without the bootstrap's", err)
	}
}

// TestRealEnvoyWithoutPort: the port is taken between the look and the start.
func TestRealEnvoyWithoutPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	bin := realEnvoy(t)
	addr := l.Addr().String()
	f := startFake(t, "", func(o *Options) {
		o.Binary, o.Env, o.Bootstrap = bin, nil, proxyTo(t, addr, "127.0.0.1:1")
	})
	if err := f.wait(t); err == nil || !strings.Contains(err.Error(), addr+": address already in use") {
		t.Errorf("Run returned %v, want %s in use", err, addr)
	}
}

// helper is a program with a Runner, until it is killed.
func helper() int {
	boot, err := os.ReadFile(os.Getenv("HELPER_BOOTSTRAP"))
	if err != nil {
		panic(err)
	}
	r, err := New(Options{
		Binary: os.Getenv("HELPER_ENVOY"), Bootstrap: boot, RunDir: os.Getenv("HELPER_RUNDIR"), Concurrency: 1,
		Listen: []string{os.Getenv("HELPER_LISTEN")}, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Orphan: time.Minute, Linger: time.Millisecond,
	})
	if err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		for r.Status().State != Running {
			sleep(ctx, pollEvery)
		}
		fmt.Println("running")
	}()
	if err := r.Run(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// startHelper returns when its Envoy serves. It is killed with -9 by kill, at
// the latest at the test's end.
func startHelper(t *testing.T, bin, dir, listen string, boot []byte) (kill func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bootstrap")
	if err := os.WriteFile(file, boot, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "RUNNER_HELPER=1", "HELPER_BOOTSTRAP="+file, "HELPER_ENVOY="+bin, "HELPER_RUNDIR="+dir, "HELPER_LISTEN="+listen)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dead := false
	kill = func() {
		if !dead {
			dead = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed: its status is no news
		}
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "running\n" {
		t.Fatalf("the helper said %q, %v", line, err)
	}
	return kill
}

func readRecord(t *testing.T, d *runDir) record {
	t.Helper()
	b, err := os.ReadFile(d.file(recordFile))
	if err != nil {
		t.Fatal(err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestKilledRunner: what is in flight ends as if nothing had happened, a new
// Runner starts at once beside it, and then nothing of the old one is left;
// the same when the guard was killed together with the Runner.
func TestKilledRunner(t *testing.T) {
	for _, guardToo := range []bool{false, true} {
		t.Run(fmt.Sprintf("guardToo=%v", guardToo), func(t *testing.T) {
			bin := realEnvoy(t)
			upstream, goOn := slowServer(t)
			listen, dir := harness.FreeAddr(t), runDirFor(t)
			boot := proxyTo(t, listen, upstream)
			kill := startHelper(t, bin, dir, listen, boot)
			old := readRecord(t, &runDir{path: dir})
			c := client(t)
			rest := stream(t, c, listen)
			if guardToo { // stopped first, or the Runner would see it die and start another
				_ = syscall.Kill(old.Guard, syscall.SIGSTOP)
			}
			kill()
			if guardToo {
				_ = syscall.Kill(old.Guard, syscall.SIGKILL)
			}
			f := startFake(t, "", func(o *Options) {
				o.Binary, o.Env, o.Concurrency, o.Bootstrap, o.Listen, o.RunDir = bin, nil, 1, boot, []string{listen}, dir
			})
			eventually(t, "the new one running", f.running)
			if !answers(t, c, listen) {
				t.Error("the new Envoy does not answer")
			}
			if isGone(old.Target.PID) {
				t.Error("the old Envoy is gone, with a stream in flight")
			}
			close(goOn)
			if got := rest(); got != "two\n" {
				t.Errorf("the stream in flight ended with %q", got)
			}
			eventually(t, "the old Envoy gone", func() bool { return isGone(old.Target.PID) })
			if !answers(t, c, listen) {
				t.Error("the new Envoy does not answer after the old one's end")
			}
			f.stopAndWait(t)
			eventually(t, "the run directory gone", func() bool {
				_, err := os.Stat(dir)
				return os.IsNotExist(err)
			})
		})
	}
}

// TestKilledRunnerLeavesNothing: without a successor the guard tidies up alone.
func TestKilledRunnerLeavesNothing(t *testing.T) {
	bin := realEnvoy(t)
	upstream, _ := slowServer(t)
	listen, dir := harness.FreeAddr(t), runDirFor(t)
	kill := startHelper(t, bin, dir, listen, proxyTo(t, listen, upstream))
	old := readRecord(t, &runDir{path: dir})
	kill()
	eventually(t, "Envoy and guard gone", func() bool { return isGone(old.Target.PID) && isGone(old.Guard) })
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the run directory is still there: %v", err)
	}
}
