package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// letters are the event ids of dead letters.
func letters(list []DeadLetter) (ids []string) {
	for _, l := range list {
		ids = append(ids, l.ID)
	}
	return ids
}

func TestRedrive(t *testing.T) {
	t.Run("one by one", func(t *testing.T) { redrive(t, func(m *memory) billing.Sink { return m }) })
	t.Run("together", func(t *testing.T) { redrive(t, func(m *memory) billing.Sink { return many{m} }) })
}

// A dead letter goes to the sink that did not take it, once, and to no other.
func redrive(t *testing.T, as func(*memory) billing.Sink) {
	e := newEngine(t).start()
	b := newBook(t, t.TempDir())
	poison := func(bad ...string) func(string) error {
		return func(id string) error {
			if slices.Contains(bad, id) {
				return fmt.Errorf("%s: %w", id, billing.ErrRefused)
			}
			return nil
		}
	}
	good, own, shared := &memory{}, &memory{fail: poison("id0001", "id0003")}, &memory{fail: poison("id0002")}
	o := begin(t, e, b, "a", Sink{Name: "good", Scope: Own, Sink: as(good)},
		Sink{Name: "own", Scope: Own, Place: "/var/events.jsonl", Sink: as(own)},
		Sink{Name: "shared", Scope: All, Place: "kafka k.example:9092 usage", Sink: as(shared)})
	want := finish(t, b, 0, 5)
	eventually(t, "everything is somewhere", func() bool { return empty(b) })
	list := func(f Letters) []string {
		t.Helper()
		got, err := o.DeadLetters(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		return letters(got)
	}
	for _, c := range []struct {
		which Letters
		want  string
	}{
		{Letters{Sink: "own"}, "id0001 id0003"},
		{Letters{Sink: "shared"}, "id0002"},
		{Letters{Sink: "kafka"}, "id0002"},
		{Letters{Sink: "events.jsonl", Most: 1}, "id0001"},
		{Letters{Sink: "elsewhere"}, ""},
		{Letters{IDs: []string{"id0002", "id0003"}, Sink: "own"}, "id0003"},
		{Letters{After: 3}, ""},
	} {
		if got := strings.Join(list(c.which), " "); got != c.want {
			t.Errorf("%+v: %q, want %q", c.which, got, c.want)
		}
	}
	if got := list(Letters{}); len(got) != 3 {
		t.Errorf("%v", got)
	}
	eventually(t, "they are counted", func() bool { s := o.Stats().Sinks; return s[0].Buried == 0 && s[1].Buried == 2 && s[2].Buried == 1 })

	own.setFail(poison("id0003"))
	out, err := o.Redrive(t.Context(), Letters{Sink: "own"})
	if err != nil || len(out) != 2 || out[0].Err != nil || !errors.Is(out[1].Err, billing.ErrRefused) {
		t.Fatalf("%+v, %v", out, err)
	}
	if got := list(Letters{}); len(got) != 2 || slices.Contains(got, "id0001") {
		t.Errorf("dead letters %v", got)
	}
	own.setFail(nil)
	shared.setFail(nil)
	for range 2 { // the second time there are none
		if _, err := o.Redrive(t.Context(), Letters{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(Letters{}); got != nil {
		t.Errorf("dead letters %v", got)
	}
	for name, s := range map[string]*memory{"good": good, "own": own, "shared": shared} {
		got := s.ids()
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
	eventually(t, "none are counted", func() bool { s := o.Stats().Sinks; return s[1].Buried == 0 && s[2].Buried == 0 })
}

// What another instance's file did not take is that instance's to redrive, and a sink
// that is away keeps nobody waiting for longer than he likes.
func TestRedriveElsewhere(t *testing.T) {
	e := newEngine(t).start()
	b := newBook(t, t.TempDir())
	refuses := &memory{fail: func(string) error { return billing.ErrRefused }}
	begin(t, e, b, "a", Sink{Name: "s", Scope: Own, Sink: refuses})
	finish(t, b, 0, 2)
	eventually(t, "they are dead letters", func() bool { return empty(b) })

	other := newBook(t, t.TempDir())
	o := begin(t, e, other, "b", Sink{Name: "s", Scope: Own, Sink: &memory{}})
	out, err := o.Redrive(t.Context(), Letters{})
	if err != nil || len(out) != 2 || !errors.Is(out[0].Err, ErrNotOurs) {
		t.Errorf("%+v, %v", out, err)
	}

	away := patient{&memory{}, make(chan struct{})}
	third := newBook(t, t.TempDir())
	o = begin(t, e, third, "a", Sink{Name: "s", Scope: Own, Sink: away})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if out, err := o.Redrive(ctx, Letters{}); !errors.Is(err, context.Canceled) && (err != nil || len(out) != 2 || !errors.Is(out[0].Err, context.Canceled)) {
		t.Errorf("%+v, %v", out, err)
	}
	if left, err := o.DeadLetters(t.Context(), Letters{}); err != nil || len(left) != 2 {
		t.Errorf("%d dead letters, %v", len(left), err)
	}
}
