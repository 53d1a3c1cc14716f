package outbox

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/extproc/admission"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// beginAlone is begin for the only instance on a NATS.
func beginAlone(t testing.TB, e *engine, b Book, sinks ...Sink) *Outbox {
	t.Helper()
	o := Start(Options{
		JS: e.js, Prefix: "test", Instance: "a", Tries: 3, Book: b, Sinks: sinks, Alone: true, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() { halt(t, o) })
	return o
}

func TestOnlySinkGetsEveryEventInOrder(t *testing.T) {
	for name, as := range map[string]func(*memory) billing.Sink{
		"one by one": func(m *memory) billing.Sink { return m },
		"together":   func(m *memory) billing.Sink { return many{m} },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t).start()
			b := newBook(t, t.TempDir())
			sink := &memory{}
			o := beginAlone(t, e, b, Sink{Name: "s", Scope: Own, Sink: as(sink)})
			want := finish(t, b, 0, 300)
			eventually(t, "the first are delivered", func() bool { return empty(b) })
			e.stop() // it is not needed any more
			want = append(want, finish(t, b, 300, 600)...)
			eventually(t, "all are delivered", func() bool { return empty(b) })
			if got := sink.ids(); !slices.Equal(got, want) {
				t.Errorf("%d events of %d, or not in order", len(got), len(want))
			}
			if s := o.Stats(); s.Published != 0 || s.Sinks[0].Delivered != 600 || s.Sinks[0].Backlog != 0 || !s.Connected {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestOnlySinkIsDown(t *testing.T) {
	e := newEngine(t).start()
	b := newBook(t, t.TempDir())
	body := []byte(`{"time":"2026-11-22T10:00:01Z"}`)
	sink := &memory{fail: func(string) error { return errors.New("down") }, check: func(billing.Message) bool { return true }}
	o := beginAlone(t, e, b, Sink{Name: "s", Scope: Own, Sink: sink})
	o.opt.Tries = 1 << 30
	for _, id := range []string{"one", "two"} {
		if _, err := b.Finish(id, billing.Completed, body); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the backlog shows", func() bool {
		s := o.Stats().Sinks[0]
		return s.Backlog == 2 && s.Failing && s.Retries > 0 && s.Oldest.Year() == 2026 && s.Age > 0
	})
	sink.setFail(nil)
	eventually(t, "it is over", func() bool {
		s := o.Stats().Sinks[0]
		return empty(b) && s.Backlog == 0 && !s.Failing && s.Delivered == 2 && s.Oldest.IsZero()
	})
}

func TestOnlySinkDeadLetters(t *testing.T) {
	e := newEngine(t).start()
	b := newBook(t, t.TempDir())
	sink := &memory{fail: func(id string) error {
		if id == "id0001" {
			return billing.ErrRefused
		}
		return nil
	}}
	o := beginAlone(t, e, b, Sink{Name: "s", Scope: Own, Sink: sink})
	finish(t, b, 0, 3)
	eventually(t, "everything is somewhere", func() bool { return empty(b) })
	if got := sink.ids(); !slices.Equal(got, []string{"id0000", "id0002"}) || e.messages("test_billing_dead") != 1 {
		t.Errorf("delivered %v, dead %d", got, e.messages("test_billing_dead"))
	}
	if s := o.Stats().Sinks[0]; s.Dead != 1 {
		t.Errorf("%+v", s)
	}
}

// A process that goes over NATS is followed by one that does not, and that by one
// that does again: nothing is lost, and what was acknowledged is not sent again.
func TestOnlySinkAfterAStream(t *testing.T) {
	e := newEngine(t).start()
	dir := t.TempDir()
	sink := &memory{}
	b, stop := openBook(t, dir)
	o := begin(t, e, b, "a", Sink{Name: "s", Scope: Own, Sink: sink})
	want := finish(t, b, 0, 10)
	eventually(t, "the sink has ten", func() bool { return len(sink.ids()) == 10 && empty(b) })
	sink.setFail(func(string) error { return errors.New("down") })
	o.opt.Tries = 1 << 30
	want = append(want, finish(t, b, 10, 20)...)
	eventually(t, "ten are in the stream", func() bool { return b.Stats().Published == 10 })
	halt(t, o)
	stop()

	sink.setFail(nil)
	b, stop = openBook(t, dir)
	o = beginAlone(t, e, b, Sink{Name: "s", Scope: Own, Sink: sink})
	want = append(want, finish(t, b, 20, 30)...)
	eventually(t, "everything is delivered", func() bool { return empty(b) })
	if got := sink.ids(); !slices.Equal(got, want) {
		t.Errorf("delivered %v", got)
	}
	if _, err := e.js.Stream(t.Context(), "test_billing_events"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the stream is still there: %v", err)
	}
	halt(t, o)
	stop()

	b, _ = openBook(t, dir)
	begin(t, e, b, "a", Sink{Name: "s", Scope: Own, Sink: sink})
	want = append(want, finish(t, b, 30, 40)...)
	eventually(t, "everything is delivered again", func() bool { return empty(b) })
	if got := sink.ids(); !slices.Equal(got, want) {
		t.Errorf("delivered %v", got)
	}
}

// openBook is newBook for a log that is closed before the test ends.
func openBook(t *testing.T, dir string) (b *admission.Book, stop func()) {
	t.Helper()
	b = newBook(t, dir)
	return b, func() {
		t.Helper()
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// stubborn is a log that cannot write down what was delivered.
type stubborn struct {
	*admission.Book
	tries chan struct{}
}

func (s stubborn) Delivered(uint64) error {
	select {
	case s.tries <- struct{}{}:
		return errors.New("disk full")
	default:
		return s.Book.Delivered(0)
	}
}

func TestLogThatDoesNotTakeTheEnd(t *testing.T) {
	e := newEngine(t).start()
	b := stubborn{newBook(t, t.TempDir()), make(chan struct{}, 2)}
	sink := &memory{}
	beginAlone(t, e, b, Sink{Name: "s", Scope: Own, Sink: sink})
	want := finish(t, b.Book, 0, 3)
	eventually(t, "the log lets go", func() bool { return empty(b.Book) && len(b.tries) == 2 })
	if got := sink.ids(); !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
}
