package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/extproc/admission"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/test/harness"
	"github.com/shunt-gateway/shunt/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Check(m.Run())) }

// patience bounds every wait; it is never an expectation.
const patience = 60 * time.Second

// engine is a NATS that can go away and come back.
type engine struct {
	t    testing.TB
	dir  string
	port int
	srv  *server.Server
	js   jetstream.JetStream
	conn *nats.Conn
}

func newEngine(t testing.TB) *engine {
	t.Helper()
	l, err := harness.Listen()
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, dir: t.TempDir(), port: l.Addr().(*net.TCPAddr).Port}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	e.conn, err = nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", e.port), nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	if e.js, err = jetstream.New(e.conn, jetstream.WithPublishAsyncTimeout(time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.conn.Close(); e.stop() })
	return e
}

func (e *engine) start() *engine {
	e.t.Helper()
	var err error
	e.srv, err = server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: e.port, JetStream: true, StoreDir: e.dir, NoSigs: true, NoLog: true,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	e.srv.Start()
	if !e.srv.ReadyForConnections(patience) {
		e.t.Fatal("NATS does not start")
	}
	return e
}

func (e *engine) stop() {
	if e.srv != nil {
		e.srv.Shutdown()
		e.srv.WaitForShutdown()
		e.srv = nil
	}
}

// messages is how many a stream has.
func (e *engine) messages(stream string) uint64 {
	s, err := e.js.Stream(e.t.Context(), stream)
	if err != nil {
		return 0
	}
	return s.CachedInfo().State.Msgs
}

// memory is a sink; fail decides what it says to an event.
type memory struct {
	mu    sync.Mutex
	got   []string
	fail  func(id string) error
	check func(billing.Message) bool // nil: a body names its event
}

func (s *memory) Deliver(_ context.Context, m billing.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.check == nil && string(m.Body) != "event of "+m.ID || s.check != nil && !s.check(m) {
		return fmt.Errorf("%s has the body %q", m.ID, m.Body)
	}
	if s.fail != nil {
		if err := s.fail(m.ID); err != nil {
			return err
		}
	}
	s.got = append(s.got, m.ID)
	return nil
}

func (s *memory) Close(context.Context) error { return nil }

func (s *memory) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func (s *memory) setFail(f func(string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

func newBook(t testing.TB, dir string) *admission.Book {
	t.Helper()
	b, err := admission.Open(admission.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// begin starts an Outbox that ends with the test, if not before. It goes on trying.
func begin(t testing.TB, e *engine, b *admission.Book, name string, sinks ...Sink) *Outbox {
	t.Helper()
	return beginTries(t, e, b, 1<<30, name, sinks...)
}

// beginTries is begin, with so many tries until an event is a dead letter.
func beginTries(t testing.TB, e *engine, b *admission.Book, tries int, name string, sinks ...Sink) *Outbox {
	t.Helper()
	o := Start(Options{
		JS: e.js, Prefix: "test", Instance: name, Tries: tries, Book: b, Sinks: sinks, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() { halt(t, o) })
	return o
}

// halt ends an Outbox as it is.
func halt(t testing.TB, o *Outbox) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := o.Close(ctx); err != nil {
		t.Error(err)
	}
}

func finish(t testing.TB, b *admission.Book, from, to int) (ids []string) {
	t.Helper()
	for i := from; i < to; i++ {
		id := fmt.Sprintf("id%04d", i)
		if first, err := b.Finish(id, billing.Completed, []byte("event of "+id)); err != nil || !first {
			t.Fatalf("%s: %v, %v", id, first, err)
		}
		ids = append(ids, id)
	}
	return ids
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

func empty(b *admission.Book) bool {
	s := b.Stats()
	return s.Ready == 0 && s.Published == 0
}

func TestEverySinkGetsEveryEventInOrder(t *testing.T) {
	e := newEngine(t).start()
	b := newBook(t, t.TempDir())
	one, two := &memory{}, &memory{}
	o := begin(t, e, b, "a", Sink{Name: "one", Scope: Own, Sink: one}, Sink{Name: "two", Scope: All, Sink: two})
	want := finish(t, b, 0, 1000)
	eventually(t, "everything is delivered", func() bool { return empty(b) })
	if !slices.Equal(one.ids(), want) || !slices.Equal(two.ids(), want) {
		t.Errorf("%d and %d events of %d, in this order", len(one.ids()), len(two.ids()), len(want))
	}
	eventually(t, "the stream is emptied", func() bool { return e.messages("test_billing_events") == 0 })
	if s := o.Stats(); s.Published != 1000 || s.Sinks[0].Delivered != 1000 || !s.Connected {
		t.Errorf("%+v", s)
	}
}

func TestDeadSinkHoldsNobodyUp(t *testing.T) {
	e := newEngine(t).start()
	b := newBook(t, t.TempDir())
	down := errors.New("down")
	good, bad := &memory{}, &memory{fail: func(string) error { return down }}
	o := begin(t, e, b, "a", Sink{Name: "bad", Scope: Own, Sink: bad}, Sink{Name: "good", Scope: Own, Sink: good})
	want := finish(t, b, 0, 600)
	eventually(t, "the good sink has everything", func() bool { return slices.Equal(good.ids(), want) })
	if empty(b) {
		t.Error("the log let go of what the bad sink does not have")
	}
	eventually(t, "the backlog shows", func() bool {
		s := o.Stats().Sinks[0]
		return s.Backlog == 600 && s.Failing && s.Failures > 0 && s.Age > 0 && !s.Oldest.IsZero()
	})
	bad.setFail(nil)
	eventually(t, "the bad sink has everything", func() bool { return slices.Equal(bad.ids(), want) })
	eventually(t, "the log lets go", func() bool { return empty(b) })
	eventually(t, "the trouble is over", func() bool {
		s := o.Stats().Sinks[0]
		return s.Backlog == 0 && !s.Failing && s.Age == 0 && s.Oldest.IsZero() && s.Delivered == 600
	})
}

// patient is a sink whose receiver is away until it is back.
type patient struct {
	*memory
	back chan struct{}
}

func (s patient) Deliver(ctx context.Context, m billing.Message) error {
	select {
	case <-s.back:
		return s.memory.Deliver(ctx, m)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s patient) Outage() (time.Time, uint64) {
	select {
	case <-s.back:
		return time.Time{}, 7
	default:
		return time.Unix(1, 0), 7
	}
}

// A sink that waits for its receiver says nothing to the outbox, and shows all the
// same.
func TestOutageShows(t *testing.T) {
	e := newEngine(t).start()
	b := newBook(t, t.TempDir())
	s := patient{&memory{}, make(chan struct{})}
	o := begin(t, e, b, "a", Sink{Name: "s", Place: "kafka nowhere", Scope: All, Sink: s})
	body := []byte(`{"time":"2026-11-22T10:00:01Z"}`)
	s.check = func(m billing.Message) bool { return string(m.Body) == string(body) }
	for i := range 3 {
		if _, err := b.Finish(fmt.Sprint(i), billing.Completed, body); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the outage shows", func() bool {
		s := o.Stats().Sinks[0]
		return s.Failing && s.Failures == 7 && s.Retries == 0 && s.Backlog == 3 && s.Place == "kafka nowhere" &&
			s.Oldest.Equal(time.Date(2026, 11, 22, 10, 0, 1, 0, time.UTC))
	})
	close(s.back)
	eventually(t, "it is over", func() bool {
		s := o.Stats().Sinks[0]
		return !s.Failing && s.Delivered == 3 && s.Backlog == 0 && s.Oldest.IsZero()
	})
}

// many takes events together, as a Batcher.
type many struct{ *memory }

func (s many) DeliverAll(ctx context.Context, ms []billing.Message) []error {
	errs := make([]error, len(ms))
	for i, m := range ms {
		errs[i] = s.Deliver(ctx, m)
	}
	if errors.Join(errs...) == nil {
		return nil
	}
	return errs
}

func TestDeadLetters(t *testing.T) {
	t.Run("one by one", func(t *testing.T) { deadLetters(t, func(m *memory) billing.Sink { return m }) })
	t.Run("together", func(t *testing.T) { deadLetters(t, func(m *memory) billing.Sink { return many{m} }) })
}

func deadLetters(t *testing.T, as func(*memory) billing.Sink) {
	e := newEngine(t).start()
	b := newBook(t, t.TempDir())
	sink := &memory{fail: func(id string) error {
		switch id {
		case "id0001":
			return errors.New("poison\nof two lines")
		case "id0003":
			return fmt.Errorf("too large: %w", billing.ErrRefused)
		}
		return nil
	}}
	finish(t, b, 0, 5)
	o := beginTries(t, e, b, 3, "a", Sink{Name: "s", Scope: Own, Sink: as(sink)})
	eventually(t, "everything is somewhere", func() bool { return empty(b) })
	if got := sink.ids(); !slices.Equal(got, []string{"id0000", "id0002", "id0004"}) {
		t.Errorf("delivered %v", got)
	}
	s, err := e.js.Stream(t.Context(), "test_billing_dead")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][3]string{{"event of id0001", "3", "poison of two lines"}, {"event of id0003", "1", "too large: billing: sink refuses the event"}} {
		m, err := s.GetMsg(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		if got := [3]string{string(m.Data), m.Header.Get(headerTries), m.Header.Get(headerError)}; got != want || m.Header.Get(headerSink) != "s" {
			t.Errorf("dead letter %q, want %q", got, want)
		}
	}
	if st := o.Stats().Sinks[0]; st.Dead != 2 || st.Retries != 4 {
		t.Errorf("%+v", st)
	}
}

// NATS is not there at first, goes away in between, and comes back with nothing.
func TestNATSComesAndGoes(t *testing.T) {
	e := newEngine(t)
	b := newBook(t, t.TempDir())
	sink := &memory{}
	begin(t, e, b, "a", Sink{Name: "s", Scope: Own, Sink: sink})
	want := finish(t, b, 0, 10)
	e.start()
	eventually(t, "the first ten", func() bool { return slices.Equal(sink.ids(), want) && empty(b) })
	e.stop()
	want = append(want, finish(t, b, 10, 20)...)
	e.start()
	eventually(t, "the next ten", func() bool { return slices.Equal(sink.ids(), want) && empty(b) })

	sink.setFail(func(string) error { return errors.New("down") })
	want = append(want, finish(t, b, 20, 30)...)
	eventually(t, "they are published", func() bool { return b.Stats().Published == 10 })
	e.stop()
	e.dir = t.TempDir()
	sink.setFail(nil)
	e.start()
	eventually(t, "the last ten, though NATS has lost them", func() bool {
		got := sink.ids()
		slices.Sort(got)
		return slices.Equal(slices.Compact(got), want)
	})
	eventually(t, "the log lets go", func() bool { return empty(b) })
}

// What a killed process had published is not published again, and what it had not
// delivered is delivered by the next.
func TestCrash(t *testing.T) {
	e := newEngine(t).start()
	dir := t.TempDir()
	b := newBook(t, dir)
	good, bad := &memory{}, &memory{fail: func(string) error { return errors.New("down") }}
	o := begin(t, e, b, "a", Sink{Name: "good", Scope: Own, Sink: good}, Sink{Name: "bad", Scope: Own, Sink: bad})
	want := finish(t, b, 0, 100)
	eventually(t, "the good sink has everything", func() bool { return len(good.ids()) == 100 })
	halt(t, o)
	after := t.TempDir()
	if err := os.CopyFS(after, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	again := newBook(t, after)
	want = append(want, finish(t, again, 100, 110)...)
	bad.setFail(nil)
	o = begin(t, e, again, "a", Sink{Name: "good", Scope: Own, Sink: good}, Sink{Name: "bad", Scope: Own, Sink: bad})
	eventually(t, "everything is delivered", func() bool { return empty(again) })
	if !slices.Equal(bad.ids(), want) || !slices.Equal(good.ids(), want) {
		t.Errorf("good: %v\nbad: %v", good.ids(), bad.ids())
	}
	if s := o.Stats(); s.Published != 10 {
		t.Errorf("%d were published by the second process, want 10", s.Published)
	}
}

// Two instances are told of the end of the same request.
func TestTwoInstancesSettleTheSame(t *testing.T) {
	e := newEngine(t).start()
	a, b := newBook(t, t.TempDir()), newBook(t, t.TempDir())
	shared := &memory{}
	begin(t, e, a, "a", Sink{Name: "s", Scope: All, Sink: shared})
	begin(t, e, b, "b", Sink{Name: "s", Scope: All, Sink: shared})
	finish(t, a, 0, 50)
	finish(t, b, 25, 75)
	eventually(t, "everything is delivered", func() bool { return empty(a) && empty(b) })
	got := shared.ids()
	slices.Sort(got)
	if len(got) != 75 || len(slices.Compact(got)) != 75 {
		t.Errorf("%d events", len(got))
	}
}

// One instance has settled a request, and another, which heard nothing of it, gives it
// up as late as it may: the first event stays the only one.
func TestGivenUpElsewhere(t *testing.T) {
	e := newEngine(t).start()
	a, b := newBook(t, t.TempDir()), newBook(t, t.TempDir())
	shared := &memory{check: func(billing.Message) bool { return true }}
	o := Start(Options{
		JS: e.js, Prefix: "test", Instance: "a", Tries: 3, SettleTimeout: time.Hour, Book: a,
		Sinks: []Sink{{Name: "s", Scope: All, Sink: shared}}, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() { halt(t, o) })
	finish(t, a, 0, 3)
	eventually(t, "it is settled", func() bool { return empty(a) })
	s, err := e.js.Stream(t.Context(), "test_billing_events")
	if err != nil {
		t.Fatal(err)
	}
	if w := s.CachedInfo().Config.Duplicates; w < time.Hour {
		t.Errorf("NATS forgets an id after %v", w)
	}
	second := begin(t, e, b, "b", Sink{Name: "s", Scope: All, Sink: shared})
	for i := range 3 {
		if _, err := b.Finish(fmt.Sprintf("id%04d", i), billing.Unsettled, []byte("unsettled")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it is given up", func() bool { return empty(b) })
	if st := second.Stats(); st.Duplicates != 3 || len(shared.ids()) != 3 {
		t.Errorf("%d duplicates, %d events", st.Duplicates, len(shared.ids()))
	}
}

func TestNoSinks(t *testing.T) {
	b := newBook(t, t.TempDir())
	begin(t, newEngine(t), b, "a")
	finish(t, b, 0, 10)
	eventually(t, "the log lets go", func() bool { return empty(b) })
}

// Close delivers what it can.
func TestCloseDrains(t *testing.T) {
	e := newEngine(t).start()
	b := newBook(t, t.TempDir())
	sink := &memory{}
	o := begin(t, e, b, "a", Sink{Name: "s", Scope: Own, Sink: sink})
	want := finish(t, b, 0, 500)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := o.Close(ctx); err != nil || !slices.Equal(sink.ids(), want) || !empty(b) {
		t.Errorf("%d of %d delivered, %v", len(sink.ids()), len(want), err)
	}
}

// A sink that is no longer configured leaves nothing behind.
func TestRemovedSink(t *testing.T) {
	e := newEngine(t).start()
	b := newBook(t, t.TempDir())
	o := begin(t, e, b, "a", Sink{Name: "old", Scope: Own, Sink: &memory{}})
	finish(t, b, 0, 3)
	eventually(t, "everything is delivered", func() bool { return empty(b) })
	halt(t, o)
	begin(t, e, b, "a", Sink{Name: "new", Scope: Own, Sink: &memory{}})
	eventually(t, "the consumer is gone", func() bool {
		_, err := e.js.Consumer(t.Context(), "test_billing_events", "a-old")
		return errors.Is(err, jetstream.ErrConsumerNotFound)
	})
}
