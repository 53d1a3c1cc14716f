package sessions

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

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

// startNATS starts a cluster of three NATS servers with JetStream and returns them
// with their URLs.
func startNATS(t *testing.T) (nodes []*server.Server, urls string) {
	t.Helper()
	const size = 3
	ports := freePorts(t, 2*size)
	var routes, all []string
	for i := range size {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[size+i]))
		all = append(all, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
	}
	for i := range size {
		n, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: ports[i], JetStream: true,
			StoreDir: filepath.Join(t.TempDir(), "js"), NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[size+i]},
			Routes:  server.RoutesFromStr(strings.Join(routes, ",")),
		})
		if err != nil {
			t.Fatal(err)
		}
		go n.Start()
		t.Cleanup(func() {
			n.Shutdown()
			n.WaitForShutdown()
		})
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		if !n.ReadyForConnections(time.Minute) {
			t.Fatal("NATS does not start")
		}
	}
	return nodes, strings.Join(all, ",")
}

// Three instances on a cluster of three: what one learns, all know; one server less
// changes nothing.
func TestInstances(t *testing.T) {
	t.Parallel()
	nodes, urls := startNATS(t)
	one := startSite(t, fmt.Sprintf("state: {nats: %q, replicas: 3}\n", urls))
	two, three := one.another(t), one.another(t)
	ann := asEdge("ann")

	save := func(s *site, provider string) {
		t.Helper()
		harness.Eventually(t, "a PATCH is taken", func() error {
			if a, _ := s.preferences(t, http.MethodPatch, `{"preferredProviders":["`+provider+`"]}`, ann...); a.status != http.StatusOK {
				return fmt.Errorf("%d %s", a.status, a.body)
			}
			return nil
		})
		if a := s.chat(t, hello, ann...); a.header.Get("x-provider") != provider {
			t.Errorf("the same instance, at once: got %s, want %s", a.header.Get("x-provider"), provider)
		}
	}
	knows := func(s *site, provider string) {
		t.Helper()
		harness.Eventually(t, "another instance sees it", func() error {
			if a := s.chat(t, hello, ann...); a.header.Get("x-provider") != provider {
				return fmt.Errorf("served by %s", a.header.Get("x-provider"))
			}
			return nil
		})
	}
	save(one, "gamma")
	knows(two, "gamma")
	knows(three, "gamma")
	nodes[0].Shutdown()
	nodes[0].WaitForShutdown()
	save(two, "beta")
	knows(one, "beta")
	knows(three, "beta")

	t.Run("FALL-3 a 429 on one cools the offer everywhere", func(t *testing.T) {
		first := strings.Replace(hello, `{`, `{"provider":{"order":["alpha"]},`, 1)
		one.providers["alpha"].Next(demo.Behaviour{Fail: &demo.Failure{
			Status: http.StatusTooManyRequests, Headers: map[string]string{"retry-after": "120"},
		}})
		if a := one.chat(t, first); a.header.Get("x-attempts") != "2" {
			t.Fatalf("got %d after %s attempts", a.status, a.header.Get("x-attempts"))
		}
		for _, s := range []*site{one, two, three} {
			harness.Eventually(t, "alpha is left alone", func() error {
				if a := s.chat(t, first); a.header.Get("x-provider") == "alpha" {
					return fmt.Errorf("served by alpha")
				}
				return nil
			})
		}
	})
}
