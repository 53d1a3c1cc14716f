package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/policy/prefs"
)

// ready waits until a cluster has elected those who run JetStream.
func ready(t testing.TB, nodes []*node) {
	t.Helper()
	var urls []string
	for _, n := range nodes {
		urls = append(urls, n.url())
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster takes a stream with as many replicas as it has nodes", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "probe", Subjects: []string{"probe"}, Replicas: len(nodes)})
		return err == nil
	})
}

// instances are one per node, each connected to its own first, with all to fall back
// on.
func instances(t testing.TB, nodes []*node) []*State {
	t.Helper()
	var states []*State
	for i := range nodes {
		var urls []string
		for j := range nodes {
			urls = append(urls, nodes[(i+j)%len(nodes)].url())
		}
		o := options(t, strings.Join(urls, ","))
		o.State.Replicas = len(nodes)
		o.limits = nil // what a node that died had in hand is given up soon
		states = append(states, open(t, o))
	}
	current(t, states...)
	return states
}

// leader is the node that leads the bucket of preferences.
func leader(t testing.TB, s *State, nodes []*node) *node {
	t.Helper()
	var found *node
	eventually(t, "the bucket has a leader", func() bool {
		stream, err := s.JetStream().Stream(t.Context(), "KV_shunt_prefs")
		if err != nil || stream.CachedInfo().Cluster == nil {
			return false
		}
		for _, n := range nodes {
			if n.Name == stream.CachedInfo().Cluster.Leader {
				found = n
			}
		}
		return found != nil
	})
	return found
}

// Three instances on a cluster of three write and read preferences while the node
// that leads the bucket is killed with -9. Nothing that was acknowledged is lost, and
// no instance reads something older than what it wrote itself.
func TestClusterNodeIsKilled(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	ready(t, nodes)
	states := instances(t, nodes)
	victim := leader(t, states[0], nodes)

	const users, writes = 30, 1000 // each user is written by one instance, in turn
	var done atomic.Int64
	var wg sync.WaitGroup
	var failed atomic.Int64
	for u := range users {
		s := states[u%len(states)]
		user := fmt.Sprintf("u%d", u)
		wg.Go(func() {
			for n := u; n < writes; n += users {
				name := fmt.Sprintf("v%d", n)
				failed.Add(int64(persist(t, s, user, name)))
				for range 2 {
					if err := readBack(t.Context(), s, user, name); err != nil {
						t.Error(err)
						return
					}
				}
				if done.Add(1) == writes/3 {
					victim.kill()
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d writes, %d of them tried again; %+v", done.Load(), failed.Load(), states[0].Counters())
	last := func(u int) string { return fmt.Sprintf("v%d", u+(writes-1-u)/users*users) }
	for u := range users {
		for i, s := range states {
			eventually(t, fmt.Sprintf("instance %d sees the last write of u%d", i, u), func() bool { return got(t, s, fmt.Sprintf("u%d", u)) == last(u) })
		}
	}
	// The node comes back with its files, and an instance that starts anew reads all
	// of it.
	victim.start(t)
	fresh := instances(t, nodes)
	for u := range users {
		for _, s := range fresh {
			eventually(t, "a new instance reads the last write", func() bool { return got(t, s, fmt.Sprintf("u%d", u)) == last(u) })
		}
	}
}

// persist writes until it is acknowledged, and returns how often it was not.
func persist(t *testing.T, s *State, user, name string) (failed int) {
	for {
		err := trySet(t.Context(), s, user, name)
		if err == nil {
			return failed
		}
		if !errors.Is(err, prefs.ErrUnavailable) && !errors.Is(err, prefs.ErrConflict) {
			t.Errorf("write %s: %v", user, err)
			return failed
		}
		failed++
		pause(t.Context(), 20*time.Millisecond)
	}
}

// readBack reads once: what this instance was told is saved, or that there is no
// reading now.
func readBack(ctx context.Context, s *State, user, name string) error {
	d, _, err := s.Preferences().Get(ctx, user)
	if errors.Is(err, prefs.ErrUnavailable) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", user, err)
	}
	if g := strings.Join(d.Preferred, " "); g != name {
		return fmt.Errorf("read %s: got %q after %q was acknowledged", user, g, name)
	}
	return nil
}

// Every node goes away and comes back.
func TestClusterIsGoneAndBack(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	ready(t, nodes)
	states := instances(t, nodes)
	set(t, states[0], "u", "before")
	for _, s := range states {
		eventually(t, "all see it", func() bool { return got(t, s, "u") == "before" })
	}
	for _, n := range nodes {
		n.kill()
	}
	for _, s := range states {
		eventually(t, "the loss is noticed", func() bool { return !s.Health().Connected })
		want(t, s, "u", "before")
		if err := trySet(t.Context(), s, "u", "x"); !errors.Is(err, prefs.ErrUnavailable) {
			t.Errorf("Update: %v", err)
		}
	}
	for _, n := range nodes {
		n.start(t)
	}
	current(t, states...)
	persist(t, states[1], "u", "after")
	for _, s := range states {
		eventually(t, "all see the change", func() bool { return got(t, s, "u") == "after" })
	}
}
