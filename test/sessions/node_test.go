package sessions

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/shunt-gateway/shunt/test/harness"
)

// nodeVariable makes this test binary a NATS server.
const nodeVariable = "SHUNT_TEST_NATS_NODE"

// nodeConfig is one server.
type nodeConfig struct {
	Name, Dir         string
	Port, ClusterPort int
	Routes            string // "" for a server of its own
}

// runNode serves until its standard input ends.
func runNode(config string) {
	var c nodeConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		panic(err)
	}
	o := &server.Options{
		ServerName: c.Name, Host: "127.0.0.1", Port: c.Port, JetStream: true, StoreDir: c.Dir, NoSigs: true, NoLog: true,
	}
	if c.Routes != "" {
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: c.ClusterPort}
		o.Routes = server.RoutesFromStr(c.Routes)
	}
	n, err := server.NewServer(o)
	if err != nil {
		panic(err)
	}
	go n.Start()
	_, _ = io.Copy(io.Discard, os.Stdin)
	n.Shutdown()
	n.WaitForShutdown()
}

// node is a NATS server in a process of its own: what the race detector finds in there
// is not ours.
type node struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// start returns when the server takes connections, and ends it with the test.
func (c nodeConfig) start(t *testing.T) *node {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{cmd: exec.Command(os.Args[0])}
	n.cmd.Env = append(os.Environ(), nodeVariable+"="+string(config), "GORACE=atexit_sleep_ms=0")
	n.cmd.Stderr = t.Output()
	if n.stdin, err = n.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.stop)
	harness.Eventually(t, "NATS takes connections", func() error {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.Port))
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
	return n
}

// stop may be called more than once.
func (n *node) stop() {
	_ = n.stdin.Close()
	_ = n.cmd.Wait()
}

// startNode starts a NATS server of its own; the same port and directory make it the
// same one again.
func startNode(t *testing.T, port int, dir string) *node {
	t.Helper()
	return nodeConfig{Name: "alone", Dir: dir, Port: port}.start(t)
}

// startNATS starts a cluster of three NATS servers with JetStream and returns them
// with their URLs.
func startNATS(t *testing.T) (nodes []*node, urls string) {
	t.Helper()
	const size = 3
	ports := freePorts(t, 2*size)
	var routes, all []string
	for i := range size {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[size+i]))
		all = append(all, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
	}
	for i := range size {
		nodes = append(nodes, nodeConfig{
			Name: fmt.Sprintf("n%d", i), Dir: filepath.Join(t.TempDir(), "js"), Port: ports[i], ClusterPort: ports[size+i],
			Routes: strings.Join(routes, ","),
		}.start(t))
	}
	return nodes, strings.Join(all, ",")
}

// freePorts are different ones: all are taken before the first is let go.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		l, err := harness.Listen()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports
}
