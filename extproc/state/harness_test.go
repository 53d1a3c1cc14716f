package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy/prefs"
	"github.com/shunt-gateway/shunt/test/harness"
	"github.com/shunt-gateway/shunt/test/leak"
)

// TestMain also is a NATS server, or an instance: the test binary starts itself as
// one, so that it can be killed.
func TestMain(m *testing.M) {
	if config := os.Getenv(nodeVariable); config != "" {
		runNode(config)
		return
	}
	if dir := os.Getenv(writerVariable); dir != "" {
		runWriter(dir)
		return
	}
	os.Exit(leak.Check(m.Run()))
}

const nodeVariable = "SHUNT_TEST_NATS_NODE"

// nodeConfig is one server of a cluster.
type nodeConfig struct {
	Name, Dir         string
	Port, ClusterPort int
	Routes            string // "" for a server of its own
}

func (c nodeConfig) options() *server.Options {
	o := &server.Options{
		ServerName: c.Name, Host: "127.0.0.1", Port: c.Port, JetStream: true, StoreDir: c.Dir,
		NoSigs: true, NoLog: true,
	}
	if c.Routes != "" {
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: c.ClusterPort}
		o.Routes = server.RoutesFromStr(c.Routes)
	}
	return o
}

// runNode serves until whoever started it goes away.
func runNode(config string) {
	var c nodeConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		panic(err)
	}
	srv, err := server.NewServer(c.options())
	if err != nil {
		panic(err)
	}
	go srv.Start()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// node is a NATS server in a process of its own.
type node struct {
	nodeConfig
	cmd   *exec.Cmd
	stdin io.Closer
}

func (n *node) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.Port) }

func (n *node) start(t testing.TB) {
	t.Helper()
	config, err := json.Marshal(n.nodeConfig)
	if err != nil {
		t.Fatal(err)
	}
	n.cmd = exec.Command(os.Args[0])
	n.cmd.Env = append(os.Environ(), nodeVariable+"="+string(config))
	n.cmd.Stderr = os.Stderr
	if n.stdin, err = n.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// kill is kill -9.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
	_ = n.stdin.Close()
	n.cmd = nil
}

// freePorts are free when asked for, and no other test gets them.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := harness.Listen()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }() // all of them after the last: each is another
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// startCluster starts nodes that know each other.
func startCluster(t testing.TB, size int) []*node {
	t.Helper()
	ports := freePorts(t, 2*size)
	var routes []string
	for _, p := range ports[size:] {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", p))
	}
	var nodes []*node
	for i := range size {
		n := &node{nodeConfig: nodeConfig{
			Name: fmt.Sprintf("n%d", i), Dir: filepath.Join(t.TempDir(), "n"), Port: ports[i],
			ClusterPort: ports[size+i], Routes: strings.Join(routes, ","),
		}}
		n.start(t)
		t.Cleanup(n.kill)
		nodes = append(nodes, n)
	}
	return nodes
}

// startNATS starts a server inside the test, on a port of its own, or on the one that
// o has.
func startNATS(t testing.TB, o *server.Options) (srv *server.Server, url string) {
	t.Helper()
	srv, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(patience) {
		t.Fatal("NATS does not start")
	}
	t.Cleanup(func() { stopNATS(srv) })
	return srv, srv.ClientURL()
}

func stopNATS(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

// lone is a server without a cluster.
func lone(t testing.TB) *server.Options {
	t.Helper()
	return nodeConfig{Name: "lone", Dir: t.TempDir(), Port: -1}.options()
}

// patience bounds every wait; it is never an expectation.
const patience = 60 * time.Second

// unhurried waits for NATS as long as a busy machine may take.
var unhurried = limits{load: patience, ask: patience, update: patience, setup: patience, ack: patience}

// options are those of an instance with an embedded NATS, or with the one at url.
func options(t testing.TB, url string) Options {
	t.Helper()
	o := Options{DataDir: t.TempDir(), StickyTTL: 10 * time.Minute, Instance: t.Name(), Log: quiet(t), limits: &unhurried}
	o.State = catalog.State{
		NATS: "embedded", Prefix: "shunt", Replicas: 1,
		Cache: catalog.StateCache{Preferences: 8 << 20, Sticky: 8 << 20},
	}
	if url != "" {
		o.State.NATS = url
	}
	return o
}

// quiet logs into the test's output, as long as the test runs.
func quiet(t testing.TB) *slog.Logger {
	l := &testLog{t: t}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.t = nil
	})
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

type testLog struct {
	mu sync.Mutex
	t  testing.TB
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t != nil {
		l.t.Log(string(bytes.TrimSpace(b)))
	}
	return len(b), nil
}

// open opens an instance that is closed with the test.
func open(t testing.TB, o Options) *State {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeState(t, s) })
	return s
}

// closed remembers what a test has closed itself.
var closed sync.Map

func closeState(t testing.TB, s *State) {
	t.Helper()
	if _, twice := closed.LoadOrStore(s, true); twice {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// eventually waits for something that takes its time; how long is not tested.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	most := patience
	if long() {
		most = 10 * time.Minute
	}
	limit := time.NewTimer(most)
	defer limit.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("never: %s", what)
		}
	}
}

func current(t testing.TB, states ...*State) {
	t.Helper()
	for _, s := range states {
		eventually(t, "the buckets are current", func() bool {
			h := s.Health()
			return h.Connected && h.Preferences.Current && h.Sticky.Current
		})
	}
}

// set saves a document with these preferred providers.
func set(t testing.TB, s *State, user string, preferred ...string) {
	t.Helper()
	if err := trySet(t.Context(), s, user, preferred...); err != nil {
		t.Fatalf("save preferences of %s: %v", user, err)
	}
}

func trySet(ctx context.Context, s *State, user string, preferred ...string) error {
	_, err := s.Preferences().Update(ctx, user, func(d prefs.Document) (prefs.Document, error) {
		d.Preferred = preferred
		return d, nil
	})
	return err
}

// got is what a Get says: the preferred providers, or the error.
func got(t testing.TB, s *State, user string) string {
	t.Helper()
	d, _, err := s.Preferences().Get(t.Context(), user)
	if err != nil {
		return err.Error()
	}
	return strings.Join(d.Preferred, " ")
}

// answered reads once; if NATS does not answer in time, on a busy machine, again.
func answered(t testing.TB, s *State, user string) string {
	t.Helper()
	var doc prefs.Document
	eventually(t, "there is an answer", func() bool {
		var err error
		doc, _, err = s.Preferences().Get(t.Context(), user)
		return !errors.Is(err, prefs.ErrUnavailable)
	})
	return strings.Join(doc.Preferred, " ")
}

func want(t testing.TB, s *State, user, preferred string) {
	t.Helper()
	if g := answered(t, s, user); g != preferred {
		t.Errorf("preferences of %s: got %q, want %q", user, g, preferred)
	}
}
