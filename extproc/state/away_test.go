package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/policy/prefs"
)

// proxy stands between an instance and NATS, and can be cut.
type proxy struct {
	listener net.Listener
	to       string
	mu       sync.Mutex
	cut      bool
	open     map[net.Conn]bool
	work     sync.WaitGroup
}

func startProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to, open: make(map[net.Conn]bool)}
	p.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.set(true)
		p.work.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer func() { _ = up.Close() }()
	if !p.keep(c, up) {
		return
	}
	defer p.drop(c, up)
	var both sync.WaitGroup
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_, _ = to.Close(), from.Close()
	}
	both.Go(func() { pipe(up, c) })
	both.Go(func() { pipe(c, up) })
	both.Wait()
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.open[c] = true
	}
	return !p.cut
}

func (p *proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.open, c)
	}
}

// set cuts all connections and lets none through, or lets them through again.
func (p *proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for c := range p.open {
			_ = c.Close()
		}
	}
}

// An instance that NATS cannot reach serves what it knows, refuses what it cannot do,
// and after that serves nothing stale.
func TestAwayAndBack(t *testing.T) {
	t.Parallel()
	srv, url := startNATS(t, lone(t))
	p := startProxy(t, srv.Addr().String())
	a, b := open(t, options(t, url)), open(t, options(t, p.url()))
	current(t, a, b)
	for i := range 50 {
		set(t, a, fmt.Sprintf("u%d", i), "old")
	}
	set(t, a, "deleted", "old")
	for i := range 50 {
		eventually(t, "all is known", func() bool { return got(t, b, fmt.Sprintf("u%d", i)) == "old" })
	}
	eventually(t, "all is known", func() bool { return got(t, b, "deleted") == "old" })
	b.Sticky().Record(testKey(1), "novita", time.Now())
	recorded(t, a, 1, "novita")

	for round := range 3 {
		p.set(true)
		eventually(t, "the loss is noticed", func() bool { return !b.Health().Connected })
		want(t, b, "u1", map[bool]string{true: "old", false: fmt.Sprintf("new%d", round-1)}[round == 0])
		if _, _, err := b.Preferences().Get(t.Context(), "unheard-of"); !errors.Is(err, prefs.ErrUnavailable) {
			t.Errorf("Get of a user who is not in memory: %v", err)
		}
		if err := trySet(t.Context(), b, "u1", "x"); !errors.Is(err, prefs.ErrUnavailable) {
			t.Errorf("Update: %v", err)
		}
		if err := b.Preferences().Delete(t.Context(), "u1"); !errors.Is(err, prefs.ErrUnavailable) {
			t.Errorf("Delete: %v", err)
		}
		// Stickiness goes on in memory, and is written afterwards.
		b.Sticky().Record(testKey(uint64(10+round)), "together", time.Now())
		recorded(t, b, uint64(10+round), "together")
		lookup(t, b, 1, time.Now(), "novita")

		name := fmt.Sprintf("new%d", round)
		for i := range 50 {
			set(t, a, fmt.Sprintf("u%d", i), name)
		}
		if err := a.Preferences().Delete(t.Context(), "deleted"); err != nil {
			t.Fatal(err)
		}
		p.set(false)
		eventually(t, "there is a connection", func() bool { return b.Health().Connected })
		// From the first read on that NATS answers, and without it as soon as the
		// instance says that it is current.
		current(t, b)
		for i := range 50 {
			want(t, b, fmt.Sprintf("u%d", i), name)
		}
		want(t, b, "deleted", "")
		set(t, b, "u0", name) // and changes are possible again
		recorded(t, a, uint64(10+round), "together")
	}
	if n := b.Counters(); n.PreferencesUnverified == 0 || n.PreferencesUnavailable < 9 || n.WatchRestarts == 0 {
		t.Errorf("counted %+v", n)
	}
}

// While the watch is behind, a read asks NATS; if NATS does not answer, what is known
// is better than nothing.
func TestReadsWhileNotCurrent(t *testing.T) {
	srv, url := startNATS(t, lone(t))
	p := startProxy(t, srv.Addr().String())
	a, b := open(t, options(t, url)), open(t, options(t, p.url()))
	current(t, a, b)
	set(t, a, "u", "old")
	eventually(t, "it is known", func() bool { return got(t, b, "u") == "old" })

	// As if the watch had been interrupted and were not back yet.
	b.stop()
	b.work.Wait()
	eventually(t, "the watch has ended", func() bool { return !b.Health().Preferences.Current })
	set(t, a, "u", "new")
	want(t, b, "u", "new")
	p.set(true)
	eventually(t, "the loss is noticed", func() bool { return !b.Health().Connected })
	want(t, b, "u", "new")
}

// An instance starts without NATS, and is whole when NATS comes.
func TestStartsBeforeNATS(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	o := lone(t)
	o.Port = port
	s := open(t, options(t, fmt.Sprintf("nats://127.0.0.1:%d", port)))
	if h := s.Health(); h.Connected || h.Preferences.Current || h.Mode != "external" {
		t.Errorf("without NATS: %+v", h)
	}
	if _, _, err := s.Preferences().Get(t.Context(), "u"); !errors.Is(err, prefs.ErrUnavailable) {
		t.Errorf("Get: %v", err)
	}
	if _, err := s.CallerKey(t.Context(), []byte("own")); !errors.Is(err, prefs.ErrUnavailable) {
		t.Errorf("CallerKey: %v", err)
	}
	startNATS(t, o)
	current(t, s)
	set(t, s, "u", "x")
	want(t, s, "u", "x")
}

// Close does not wait for a NATS that is not there.
func TestCloseWhileAway(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	s := open(t, options(t, fmt.Sprintf("nats://127.0.0.1:%d", port)))
	for n := range uint64(queueSize + 10) {
		s.Sticky().Record(testKey(n), "novita", time.Now())
	}
	if c := s.Counters(); c.StickyDropped < 10 || s.Health().StickyQueue != queueSize {
		t.Errorf("the queue is bounded: %d dropped, %d in it", c.StickyDropped, s.Health().StickyQueue)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	closed.Store(s, true)
	if err := s.Close(ctx); err != nil { // ctx does not end
		t.Error(err)
	}
}

// A server that was restarted with its files is the same to an instance.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	o := lone(t)
	o.Port = freePorts(t, 1)[0]
	srv, url := startNATS(t, o)
	s := open(t, options(t, url))
	current(t, s)
	set(t, s, "u", "before")
	for i := range 3 {
		stopNATS(srv)
		eventually(t, "the loss is noticed", func() bool { return !s.Health().Connected })
		again := *o
		srv, _ = startNATS(t, &again)
		current(t, s)
		name := fmt.Sprintf("after%d", i)
		set(t, s, "u", name)
		want(t, s, "u", name)
	}
}

// An operator removes the buckets under a running instance: what was in them is gone,
// from memory too, and they are made anew.
func TestBucketIsRemoved(t *testing.T) {
	t.Parallel()
	_, url := startNATS(t, lone(t))
	s, operator := open(t, options(t, url)), open(t, options(t, url))
	current(t, s, operator)
	for i := range 20 {
		set(t, s, fmt.Sprintf("u%d", i), "x")
	}
	s.Sticky().Record(testKey(1), "novita", time.Now())
	recorded(t, operator, 1, "novita")
	for _, name := range []string{"KV_shunt_prefs", "KV_shunt_sticky"} {
		if err := operator.JetStream().DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		eventually(t, "the document is gone", func() bool { return got(t, s, fmt.Sprintf("u%d", i)) == "" })
	}
	eventually(t, "there is a bucket again", func() bool { return trySet(t.Context(), s, "u1", "y") == nil })
	current(t, s, operator)
	want(t, s, "u1", "y")
	eventually(t, "the other sees it", func() bool { return got(t, operator, "u1") == "y" })
	s.Sticky().Record(testKey(2), "novita", time.Now())
	recorded(t, operator, 2, "novita")
}

// A bucket that someone made by hand is brought to what correctness needs, and keeps
// what else its maker wanted.
func TestBucketOfAnother(t *testing.T) {
	_, url := startNATS(t, lone(t))
	first := options(t, url)
	first.State.Prefix = "other"
	operator := open(t, first)
	_, err := operator.JetStream().CreateKeyValue(t.Context(), jetstream.KeyValueConfig{
		Bucket: "shunt_prefs", History: 1, Compression: true, MaxValueSize: 100, Metadata: map[string]string{"owner": "me"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, options(t, url))
	current(t, s)
	stream, err := operator.JetStream().Stream(t.Context(), "KV_shunt_prefs")
	if err != nil {
		t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	if c.AllowDirect || c.MaxMsgsPerSubject != prefsHistory || c.MaxMsgSize < prefs.MaxDocument {
		t.Errorf("not brought up to date: %+v", c)
	}
	if c.Compression != jetstream.S2Compression || c.Metadata["owner"] != "me" {
		t.Errorf("what the operator set is gone: %+v", c)
	}
	// Other clients see an ordinary bucket.
	set(t, s, "u", "x")
	kv, err := operator.JetStream().KeyValue(t.Context(), "shunt_prefs")
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), "u")
	if err != nil || string(e.Value()) != `{"v":1,"preferredProviders":["x"]}` {
		t.Errorf("the bucket has %v, %v", e, err)
	}
	if err := kv.Delete(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a deletion by another client is seen", func() bool { return got(t, s, "u") == "" })
}

// All instances of one NATS know callers by the same hashes.
func TestCallerKey(t *testing.T) {
	_, url := startNATS(t, lone(t))
	states := []*State{open(t, options(t, url)), open(t, options(t, url)), open(t, options(t, url))}
	current(t, states...)
	keys := make([]string, len(states))
	var wg sync.WaitGroup
	for i, s := range states {
		wg.Go(func() {
			k, err := s.CallerKey(t.Context(), []byte(fmt.Sprintf("%032d", i)))
			if err != nil {
				t.Error(err)
			}
			keys[i] = string(k)
		})
	}
	wg.Wait()
	if keys[0] != keys[1] || keys[1] != keys[2] || len(keys[0]) != 32 {
		t.Errorf("the keys are %q", keys)
	}
	if k, err := states[0].CallerKey(t.Context(), []byte("short")); err == nil || string(k) != "short" {
		t.Errorf("a key of another size: %q, %v", k, err)
	}
	alone := open(t, options(t, ""))
	if k, err := alone.CallerKey(t.Context(), []byte("mine")); err != nil || string(k) != "mine" {
		t.Errorf("embedded: %q, %v", k, err)
	}
}

// The files of an embedded NATS are those of any other, as docs/state.md says for
// moving to one.
func TestEmbeddedFilesServeElsewhere(t *testing.T) {
	embedded := options(t, "")
	s := open(t, embedded)
	current(t, s)
	set(t, s, "u", "x")
	closeState(t, s)
	o := lone(t)
	o.StoreDir = filepath.Join(embedded.DataDir, "nats")
	_, url := startNATS(t, o)
	s = open(t, options(t, url))
	want(t, s, "u", "x")
}
