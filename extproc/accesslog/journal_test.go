package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/test/loglines"
)

// desk is a journal with an Envoy that the test is, requests, and a clock.
type desk struct {
	*Journal
	t    *testing.T
	path string
	said *loglines.Buffer

	mu        sync.Mutex
	at        time.Time
	open      map[string]bool
	void      []string
	unwritten bool
	settled   map[string]*billing.Record
	fail      error
}

func newDesk(t *testing.T, path string, open ...string) *desk {
	t.Helper()
	d := &desk{t: t, path: path, at: noon, open: map[string]bool{}, settled: map[string]*billing.Record{}, said: &loglines.Buffer{}}
	for _, id := range open {
		d.open[id] = true
	}
	d.Journal = newJournal(JournalConfig{Path: path, Rotate: 1000, Requests: d, Settle: d.settle, Log: logTo(d.said), now: d.now})
	t.Cleanup(d.Close)
	return d
}

func (d *desk) now() time.Time          { d.mu.Lock(); defer d.mu.Unlock(); return d.at }
func (d *desk) forward(t time.Duration) { d.mu.Lock(); defer d.mu.Unlock(); d.at = d.at.Add(t) }
func (d *desk) Open(id string) bool     { d.mu.Lock(); defer d.mu.Unlock(); return d.open[id] }
func (d *desk) Void(id string)          { d.mu.Lock(); defer d.mu.Unlock(); d.void = append(d.void, id) }
func (d *desk) Written() bool           { d.mu.Lock(); defer d.mu.Unlock(); return !d.unwritten }

func (d *desk) Quote(id string) (string, bool) {
	if !d.Open(id) {
		return "", false
	}
	return quoteOfID(id), true
}

func (d *desk) settle(_ context.Context, q *billing.Quote, r *billing.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	if d.settled[q.ID] != nil {
		d.t.Errorf("%s was settled twice", q.ID)
	}
	d.settled[q.ID] = r
	delete(d.open, q.ID)
	return nil
}

func (d *desk) want(ids ...string) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if got := slices.Sorted(maps.Keys(d.settled)); !slices.Equal(got, ids) {
		d.t.Errorf("settled %v, want %v", got, ids)
	}
}

// quoteOfID is a quote for one attempt at a provider p.
func quoteOfID(id string) string {
	model := &catalog.Model{ID: "model"}
	q := billing.NewQuote(&policy.Decision{Kind: policy.KindExplicit, Model: model, Attempts: []policy.Attempt{{Offer: &catalog.Offer{
		Model: model, Provider: &catalog.Provider{Slug: "p"}, Upstream: "up", Price: &catalog.Price{},
	}}}}, &billing.Facts{ID: id, Source: "shunt/test", StartedAt: noon, Catalog: &catalog.Catalog{Hash: "hash", Billing: catalog.Billing{Currency: "USD"}}})
	return string(q.AppendJSON(nil))
}

// step looks as the worker does, after some time.
func (d *desk) step(t time.Duration) { d.forward(t); d.look(journalGrace) }

func ended(id string) string   { return `{"k":"end","id":"` + id + `","code":200,"tries":1}` + "\n" }
func attempt(id string) string { return strings.ReplaceAll(attemptLine, lineOf, id) + "\n" }

// pen writes as Envoy does: at the end of the file that it has open.
func pen(t *testing.T, path string) func(string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return func(text string) {
		t.Helper()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
}

func journalPath(t *testing.T) string { t.Helper(); return filepath.Join(t.TempDir(), "ends.jsonl") }

// What ended while nobody was there is settled at the first look; what has its event
// is passed over.
func TestJournalAtStart(t *testing.T) {
	path := journalPath(t)
	pen(t, path)(ended("a") + ended("b") + ended("a") + goneLine + "\n")
	d := newDesk(t, path, "a", "c")
	d.look(journalGrace)
	d.want("a")
	if !slices.Equal(d.void, []string{"6d5a65df-5229-4f10-94cf-939ea1caae1b"}) {
		t.Errorf("void %v", d.void)
	}
	if s := d.Stats(); s != (JournalStats{Lines: 4, Settled: 1}) {
		t.Errorf("%+v", s)
	}
}

// The gRPC access log has its time, then the journal settles.
func TestJournalGrace(t *testing.T) {
	path := journalPath(t)
	d := newDesk(t, path, "a", "b", "c")
	d.look(journalGrace) // no file yet
	write := pen(t, path)
	write(ended("a") + ended("b"))
	d.step(time.Second)
	d.want()
	d.mu.Lock()
	delete(d.open, "b") // it was reported
	d.mu.Unlock()
	d.step(journalGrace - time.Millisecond)
	d.want()
	d.step(time.Millisecond)
	d.want("a")
	write(ended("c"))
	d.Look() // for whoever would give it up
	d.want("a", "c")
}

// Attempts come with their request, also one that is reported behind it.
func TestJournalAttempts(t *testing.T) {
	path := journalPath(t)
	d := newDesk(t, path, "a")
	d.look(journalGrace)
	write := pen(t, path)
	write(attempt("a") + attempt("b") + ended("a"))
	d.step(time.Second)
	write(strings.Replace(attempt("a"), "1795356405.4", "1795356405.7", 1))
	d.step(journalGrace)
	d.want("a")
	if r := d.settled["a"]; r == nil || len(r.Attempts) != 2 || r.Attempts[0].RetryAfter != 3*time.Second {
		t.Errorf("%+v", r)
	}
}

// A request whose event cannot be kept is left to whoever gives it up.
func TestJournalSettleFails(t *testing.T) {
	path := journalPath(t)
	pen(t, path)(ended("a"))
	d := newDesk(t, path, "a")
	d.fail = errors.New("no room")
	d.look(journalGrace)
	d.want()
	if d.Stats().Settled != 0 {
		t.Error("it is counted")
	}
}

// Lines of others, torn and too long ones are counted, said, and passed over.
func TestJournalBadLines(t *testing.T) {
	path := journalPath(t)
	write := pen(t, path)
	write("GET / HTTP/1.1\n" + ended("a")[:20] + "\n" + strings.Repeat("x", 2*longestLine) + "\n" + ended("a")[:20] + ended("b"))
	d := newDesk(t, path, "a", "b", "c")
	d.look(journalGrace)
	d.want("b")
	if s := d.Stats(); s.Bad != 3 || strings.Count(d.said.String(), "passed over what is no line") != 1 {
		t.Errorf("%+v\n%s", s, d.said)
	}
	write(ended("c")[:9]) // Envoy is killed in a write, and the next one goes on
	d.step(time.Second)
	write(ended("c"))
	d.step(complainEvery)
	d.step(journalGrace)
	d.want("b", "c")
}

// The file is renamed, and Envoy goes on with the old one for a while.
func TestJournalRenamed(t *testing.T) {
	path := journalPath(t)
	first := pen(t, path)
	d := newDesk(t, path, "a", "b", "c", "d")
	d.look(journalGrace)
	first(ended("a") + ended("b")[:7])
	d.Look()
	if err := os.Rename(path, path+"-20261122"); err != nil {
		t.Fatal(err)
	}
	first(ended("b")[7:])
	second := pen(t, path)
	second(ended("c"))
	d.Look()
	first(ended("d"))
	d.Look()
	d.want("a", "b", "c", "d")
	for range 3 {
		d.forward(strayTime)
		d.look(journalGrace)
	}
	if len(d.files.old) != 0 {
		t.Error("the old file is kept open")
	}
	if _, err := os.Stat(path + "-20261122"); err != nil {
		t.Errorf("a file that is not ours: %v", err)
	}
}

// What a later shunt finds in files that were rotated away before it began.
func TestJournalRenamedWhileAway(t *testing.T) {
	path := journalPath(t)
	pen(t, path+".1")(ended("a"))
	pen(t, path+".2.gz")(ended("b"))
	pen(t, path)(ended("c"))
	d := newDesk(t, path, "a", "b", "c")
	d.look(journalGrace)
	d.want("a", "c")
}

// The file is copied and truncated.
func TestJournalTruncated(t *testing.T) {
	path := journalPath(t)
	write := pen(t, path)
	d := newDesk(t, path, "a", "b", "c")
	write(ended("a") + ended("x"))
	d.look(journalGrace)
	write(ended("b"))
	data, err := os.ReadFile(path)
	if err := errors.Join(err, os.WriteFile(path+".1", data, 0o600), os.Truncate(path, 0)); err != nil {
		t.Fatal(err)
	}
	write(ended("c"))
	d.Look()
	d.want("a", "b", "c")
}

// Under our own rotation the directory stays small, and no line is lost. Files of others
// stay.
func TestJournalRotates(t *testing.T) {
	path := journalPath(t)
	if err := Private(path); err != nil {
		t.Fatal(err)
	}
	write := pen(t, path)
	pen(t, path+".bak")("not ours to remove\n")
	var ids []string
	for i := range 200 {
		ids = append(ids, fmt.Sprintf("id-%03d", i))
	}
	d := newDesk(t, path, ids...)
	asked, deaf := 0, 3
	d.RotateWith(func(context.Context) error {
		if asked++; asked <= deaf {
			return errors.New("nobody there")
		}
		write = pen(t, path)
		return nil
	})
	for i, id := range ids {
		write(ended(id))
		if i%10 == 0 {
			d.step(time.Second)
		}
	}
	d.Look()
	d.want(ids...)
	if n := len(filesOf(t, path)); n < 5 || asked < deaf+n-2 || !strings.Contains(d.said.String(), "nobody there") {
		t.Errorf("%d files, asked %d times: %s", n, asked, d.said)
	}
	d.unwritten = true
	for range 3 {
		d.step(strayTime)
	}
	if n := len(filesOf(t, path)); n < 5 {
		t.Errorf("%d files are left while events are not written", n)
	}
	d.unwritten = false
	for range 3 {
		d.step(strayTime)
	}
	left := filesOf(t, path)
	if !slices.Equal(left, []string{"ends.jsonl", "ends.jsonl.bak"}) {
		t.Errorf("left: %v", left)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// A shunt that follows another goes on with its files, and removes them.
func TestJournalRotatedBefore(t *testing.T) {
	path := journalPath(t)
	pen(t, path+".7")(ended("a"))
	d := newDesk(t, path, "a", "b")
	write := pen(t, path)
	d.RotateWith(func(context.Context) error { write = pen(t, path); return nil })
	d.step(time.Second)
	d.want("a")
	write(strings.Repeat(ended("x"), 100))
	d.step(time.Second)
	if got := filesOf(t, path); !slices.Contains(got, "ends.jsonl.8") {
		t.Errorf("%v", got)
	}
	write(ended("b"))
	for range 3 {
		d.step(strayTime)
	}
	d.want("a", "b")
	if got := filesOf(t, path); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// filesOf are the files of a journal's directory.
func filesOf(t *testing.T, path string) []string {
	t.Helper()
	all, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range all {
		out = append(out, e.Name())
	}
	return out
}

// What stands at the path and cannot be read is said, once a minute.
func TestJournalUnreadable(t *testing.T) {
	path := journalPath(t)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, path, "a")
	for range 10 {
		d.step(time.Second)
	}
	if n := strings.Count(d.said.String(), "not a regular file"); n != 1 {
		t.Errorf("said %d times:\n%s", n, d.said)
	}
}

// By itself, as it runs in shunt.
func TestJournalFollows(t *testing.T) {
	path := journalPath(t)
	d := newDesk(t, path, "a", "b")
	j := StartJournal(JournalConfig{Path: path, Requests: d, Settle: d.settle, Log: discard(), every: time.Millisecond})
	defer j.Close()
	write := pen(t, path)
	write(ended("a"))
	waitFor(t, func() bool { return !d.Open("a") })
	write(ended("b"))
	j.Look()
	d.want("a", "b")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatal("it did not happen")
		case <-tick.C:
		}
	}
}
