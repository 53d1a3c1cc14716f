package envoy

import (
	"sync"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// ackTable remembers the version of each resource type that Envoy took last.
type ackTable struct {
	mu     sync.Mutex
	want   string
	types  []string
	latest map[string]string
}

// expect starts waiting for a version of every type that the configuration has.
func (t *ackTable) expect(version string, secrets bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want = version
	t.types = []string{resource.ClusterType, resource.ListenerType, resource.RouteType}
	if secrets {
		t.types = append(t.types, resource.SecretType)
	}
}

func (t *ackTable) ack(typeURL, version string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.latest == nil {
		t.latest = map[string]string{}
	}
	t.latest[typeURL] = version
}

// reset forgets what an Envoy said that is gone.
func (t *ackTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.latest = nil
}

func (t *ackTable) current() (ok bool, missing string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.want == "" {
		return false, "no configuration published yet"
	}
	for _, typeURL := range t.types {
		if t.latest[typeURL] != t.want {
			return false, "envoy has not acknowledged " + typeURL + " version " + t.want
		}
	}
	return true, ""
}
