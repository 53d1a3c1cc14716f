package outbox

import (
	"log/slog"
	"testing"
	"time"
)

// Instances that want the same of a stream leave each other's alone.
func TestStreamsAreUpdatedOnlyWhereTheyDiffer(t *testing.T) {
	e := newEngine(t).start()
	updates, err := e.conn.SubscribeSync("$JS.EVENT.ADVISORY.STREAM.UPDATED.*")
	if err != nil {
		t.Fatal(err)
	}
	connect := func(name string, settle time.Duration) {
		t.Helper()
		o := Start(Options{
			JS: e.js, Prefix: "test", Instance: name, Tries: 1, SettleTimeout: settle,
			Book: newBook(t, t.TempDir()), Log: slog.New(slog.DiscardHandler),
			Sinks: []Sink{{Name: "s", Scope: All, Sink: &memory{}}},
		})
		t.Cleanup(func() { halt(t, o) })
		eventually(t, name+" has its streams", func() bool { return o.Stats().Connected })
	}
	told := func() int {
		t.Helper()
		if err := e.conn.FlushTimeout(patience); err != nil {
			t.Fatal(err)
		}
		n, _, err := updates.Pending()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	connect("a", time.Minute)
	connect("b", time.Minute)
	connect("c", time.Second) // NATS remembers ids for longer than it needs
	if n := told(); n != 0 {
		t.Errorf("%d updates", n)
	}
	connect("d", time.Hour)
	eventually(t, "both streams remember ids for longer", func() bool { return told() == 2 })
	s, err := e.js.Stream(t.Context(), "test_billing_events")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.CachedInfo().Config.Duplicates, time.Hour+time.Minute; got != want {
		t.Errorf("ids are known for %v, want %v", got, want)
	}
}
