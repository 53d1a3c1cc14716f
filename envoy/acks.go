package envoy

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// ErrRefused is what ADS.Taken answers when Envoy does not take a configuration.
var ErrRefused = errors.New("envoy refused the configuration")

// ackTable remembers the version of each resource type that Envoy took last.
type ackTable struct {
	mu      sync.Mutex
	want    string
	types   []string
	latest  map[string]string
	refused error         // of the version that is wanted
	changed chan struct{} // closed when something did
}

// expect starts waiting for a version of every type that the configuration has.
func (t *ackTable) expect(version string, secrets bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want, t.refused = version, nil
	t.types = []string{resource.ClusterType, resource.ListenerType, resource.RouteType}
	if secrets {
		t.types = append(t.types, resource.SecretType)
	}
	t.change()
}

func (t *ackTable) ack(typeURL, version string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.latest == nil {
		t.latest = map[string]string{}
	}
	t.latest[typeURL] = version
	t.change()
}

func (t *ackTable) nack(typeURL, message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused = fmt.Errorf("%w (%s): %s", ErrRefused, typeURL, message)
	t.change()
}

// reset forgets what an Envoy said that is gone.
func (t *ackTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.latest, t.refused = nil, nil
	t.change()
}

// change wakes who waits. The lock is held.
func (t *ackTable) change() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

func (t *ackTable) current() (ok bool, missing string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	missing = t.missing()
	return missing == "", missing
}

// missing says what Envoy has not acknowledged, "" for nothing. The lock is held.
func (t *ackTable) missing() string {
	if t.want == "" {
		return "no configuration published yet"
	}
	for _, typeURL := range t.types {
		if t.latest[typeURL] != t.want {
			return "envoy has not acknowledged " + typeURL + " version " + t.want
		}
	}
	return ""
}

// wait returns when Envoy has taken the version that is wanted, or refused it.
func (t *ackTable) wait(ctx context.Context) error {
	for {
		t.mu.Lock()
		missing, refused := t.missing(), t.refused
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed := t.changed
		t.mu.Unlock()
		switch {
		case missing == "":
			return nil
		case refused != nil:
			return refused
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", missing, ctx.Err())
		}
	}
}
