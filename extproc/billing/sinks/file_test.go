package sinks

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/test/loglines"
)

func openPath(t *testing.T, path string) (billing.Batcher, *loglines.Buffer) {
	t.Helper()
	return open(t, &catalog.Sink{File: path}, nil)
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "deep", "events.jsonl")
	s, _ := openPath(t, path)
	deliver(t, s, 0, 3000)
	wantMessages(t, linesOf(t, path), 0, 3000) // no Close: what is delivered is written

	for p, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700, filepath.Dir(filepath.Dir(path)): 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v (%v)", p, info.Mode().Perm(), want, err)
		}
	}
	closeSink(t, s)
	if err := s.Deliver(t.Context(), message(0)); !errors.Is(err, billing.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	closeSink(t, s) // again

	s, _ = openPath(t, path) // a restart appends
	if err := s.Deliver(bounded(t), message(3000)); err != nil {
		t.Fatal(err)
	}
	wantMessages(t, linesOf(t, path), 0, 3001)
}

func TestFileIsMadePrivateAndATornLineEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(path, []byte(`{"id":"torn`), 0o644); err != nil {
		t.Fatal(err)
	}
	s, _ := openPath(t, path)
	deliver(t, s, 0, 1)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := linesOf(t, path); len(got) != 2 || got[1] != string(message(0).Body) {
		t.Errorf("an event was written to the end of a torn line: %q", got)
	}
}

func TestFileRenamedByOthers(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "events.jsonl"), filepath.Join(dir, "events.jsonl.1")
	s, _ := openPath(t, path)
	deliver(t, s, 0, 2)
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	deliver(t, s, 2, 4)
	wantMessages(t, linesOf(t, path), 2, 4)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	deliver(t, s, 4, 5)
	wantMessages(t, linesOf(t, old), 0, 2)
	wantMessages(t, linesOf(t, path), 4, 5)
}

func TestFileNeedsAFile(t *testing.T) {
	log, _ := loglines.New()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Dir(file), filepath.Join(file, "below")} {
		if _, err := Open(&catalog.Sink{File: path}, nil, log); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// clock is a time that a test sets.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time   { return time.Unix(c.at.Load(), 0) }
func (c *clock) set(text string)  { c.at.Store(mustTime(text).Unix()) }
func mustTime(s string) time.Time { t, err := time.Parse(time.RFC3339, s); must(err); return t }
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// rigged is a file whose writes and flushes a test decides on.
type rigged struct {
	file
	write func(p []byte) (n int, err error)
	sync  func() error
}

func (r *rigged) Write(p []byte) (int, error) { return r.write(p) }
func (r *rigged) Sync() error                 { return r.sync() }

// rig opens real files whose writes go through write, and flushes through sync.
func rig(write func(f file, p []byte) (int, error), sync func(f file) error) opener {
	return func(path string) (file, error) {
		f, err := openLine(path)
		if err != nil {
			return nil, err
		}
		r := &rigged{file: f, write: f.Write, sync: f.Sync}
		if write != nil {
			r.write = func(p []byte) (int, error) { return write(f, p) }
		}
		if sync != nil {
			r.sync = func() error { return sync(f) }
		}
		return r, nil
	}
}

func rigFile(t *testing.T, cfg *catalog.Sink, open opener, now func() time.Time) (*fileSink, *loglines.Buffer) {
	t.Helper()
	log, lines := loglines.New()
	s, err := newFile(cfg, log, open, now)
	if err != nil {
		t.Fatal(err)
	}
	s.disk.pauses = quick
	return s, lines
}

// A new file for each day: the old one is named after the day of what is in it.
func TestFileRotatesByDay(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events.jsonl")
	var c clock
	c.set("2026-11-22T23:59:59Z")
	cfg := &catalog.Sink{File: path, Rotate: catalog.Rotation{Daily: true}}
	s, _ := rigFile(t, cfg, openLine, c.now)
	deliver(t, s, 0, 2)
	deliver(t, s, 2, 3)
	c.set("2026-11-23T00:00:00Z")
	deliver(t, s, 3, 5)
	c.set("2026-11-25T12:00:00Z")
	deliver(t, s, 5, 6)
	closeSink(t, s)
	if got, want := filesIn(t, dir), "events-20261122.jsonl events-20261123.jsonl events.jsonl"; got != want {
		t.Fatalf("files %s, want %s", got, want)
	}
	wantMessages(t, linesOf(t, filepath.Join(dir, "events-20261122.jsonl")), 0, 3)
	wantMessages(t, linesOf(t, filepath.Join(dir, "events-20261123.jsonl")), 3, 5)
	wantMessages(t, linesOf(t, path), 5, 6)

	// After a restart the file's last change tells its day.
	yesterday := mustTime("2026-11-25T12:00:00Z")
	must(os.Chtimes(path, yesterday, yesterday))
	c.set("2026-11-26T01:00:00Z")
	s, _ = rigFile(t, cfg, openLine, c.now)
	deliver(t, s, 6, 7)
	closeSink(t, s)
	wantMessages(t, linesOf(t, filepath.Join(dir, "events-20261125.jsonl")), 5, 6)
	wantMessages(t, linesOf(t, path), 6, 7)
}

// A new file at a size; no file is ever written over.
func TestFileRotatesBySize(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events.jsonl")
	taken := filepath.Join(dir, "events-20261122-2.jsonl")
	must(os.WriteFile(taken, []byte("mine\n"), 0o600))
	var c clock
	c.set("2026-11-22T10:00:00Z")
	line := int64(len(message(0).Body)) + 1
	s, _ := rigFile(t, &catalog.Sink{File: path, Rotate: catalog.Rotation{Size: 3*line + 1}}, openLine, c.now)
	for i := range 8 {
		deliver(t, s, i, i+1)
	}
	closeSink(t, s)
	wantMessages(t, linesOf(t, filepath.Join(dir, "events-20261122.jsonl")), 0, 3)
	wantMessages(t, linesOf(t, filepath.Join(dir, "events-20261122-3.jsonl")), 3, 6)
	wantMessages(t, linesOf(t, path), 6, 8)
	if got := linesOf(t, taken); len(got) != 1 || got[0] != "mine" {
		t.Errorf("a file was written over: %q", got)
	}
}

// A rotation that does not work costs no event: the name is as long as a name may
// be, so that there is none for the file that is put aside.
func TestFileThatCannotRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("e", 255))
	var c clock
	c.set("2026-11-22T10:00:00Z")
	s, lines := rigFile(t, &catalog.Sink{File: path, Rotate: catalog.Rotation{Daily: true}}, openLine, c.now)
	deliver(t, s, 0, 1)
	c.set("2026-11-23T10:00:00Z")
	deliver(t, s, 1, 2)
	c.set("2026-11-24T10:00:00Z")
	deliver(t, s, 2, 3)
	closeSink(t, s)
	wantMessages(t, linesOf(t, path), 0, 3)
	if n := strings.Count(lines.String(), "cannot rotate"); n != 1 {
		t.Errorf("logged %d times: %s", n, lines)
	}
}

// A disk that is full for a while, in the middle of a line: no line is lost, torn
// or written twice.
func TestFileTriesAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	failures := 0
	s, lines := rigFile(t, &catalog.Sink{File: path}, rig(func(f file, p []byte) (int, error) {
		if failures++; failures > 3 {
			return f.Write(p)
		}
		n, err := f.Write(p[:min(len(p), 7)])
		return n, errors.Join(err, errors.New("disk full"))
	}, nil), time.Now)
	deliver(t, s, 0, 50)
	if got := lines.String(); !strings.Contains(got, "cannot deliver") || !strings.Contains(got, "disk full") || !strings.Contains(got, "delivers again") {
		t.Errorf("logged %q", got)
	}
	closeSink(t, s)
	wantMessages(t, linesOf(t, path), 0, 50)
}

// The file is renamed away while a line is torn: the line is whole in the new one.
func TestFileTornLineAndRename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	first := true
	s, _ := rigFile(t, &catalog.Sink{File: path}, rig(func(f file, p []byte) (int, error) {
		if !first {
			return f.Write(p)
		}
		first = false
		n, err := f.Write(p[:5])
		return n, errors.Join(err, os.Rename(path, path+".1"), errors.New("disk full"))
	}, nil), time.Now)
	deliver(t, s, 0, 1)
	deliver(t, s, 1, 2)
	closeSink(t, s)
	wantMessages(t, linesOf(t, path), 0, 2)
}

// A disk that stays full: whoever delivers waits, and is told in the end.
func TestFileStaysFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	s, lines := rigFile(t, &catalog.Sink{File: path}, rig(func(file, []byte) (int, error) { return 0, errors.New("disk full") }, nil), time.Now)
	short, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { got <- s.Deliver(short, message(0)) }()
	eventually(t, "an error in the log", func() bool { return strings.Contains(lines.String(), "disk full") })
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("Deliver: %v", err)
	}
	waiting := make(chan []error, 1)
	go func() { waiting <- s.DeliverAll(context.Background(), messages(1, 3)) }()
	eventually(t, "two more wait", func() bool { return len(s.jobs) == 1 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(ctx); err == nil || !strings.Contains(err.Error(), "3 events") {
		t.Errorf("Close: %v", err)
	}
	for _, err := range <-waiting {
		if !errors.Is(err, billing.ErrClosed) {
			t.Errorf("DeliverAll: %v", err)
		}
	}
}

// fsync: always flushes before an event counts as delivered, and after a flush that
// failed writes it again to a file opened anew.
func TestFileFsyncAlways(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	var syncs, opens atomic.Int32
	inner := rig(nil, func(f file) error {
		if syncs.Add(1) == 2 {
			return errors.New("the disk is gone")
		}
		return f.Sync()
	})
	s, _ := rigFile(t, &catalog.Sink{File: path, Fsync: catalog.FsyncAlways}, func(p string) (file, error) { opens.Add(1); return inner(p) }, time.Now)
	deliver(t, s, 0, 1)
	if n := syncs.Load(); n != 1 {
		t.Errorf("%d flushes after a delivery, want 1", n)
	}
	deliver(t, s, 1, 2)
	closeSink(t, s)
	got := linesOf(t, path)
	if len(got) != 3 || got[2] != string(message(1).Body) || opens.Load() != 2 {
		t.Errorf("after a flush that failed: %d opens, %q", opens.Load(), got)
	}
}

// fsync: interval flushes by itself; never does not.
func TestFileFsyncInterval(t *testing.T) {
	for mode, want := range map[catalog.Fsync]bool{catalog.FsyncInterval: true, catalog.FsyncNever: false} {
		var syncs atomic.Int32
		s, _ := rigFile(t, &catalog.Sink{File: filepath.Join(t.TempDir(), "events.jsonl"), Fsync: mode},
			rig(nil, func(f file) error { syncs.Add(1); return f.Sync() }), time.Now)
		deliver(t, s, 0, 1)
		if want {
			eventually(t, "a flush", func() bool { return syncs.Load() == 1 })
		} else if n := syncs.Load(); n != 0 {
			t.Errorf("fsync: never flushed %d times", n)
		}
		closeSink(t, s)
	}
}

// Close while others deliver: what was taken is written, and the rest is refused.
func TestFileCloseInTheMiddle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	s, _ := openPath(t, path)
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				err := s.Deliver(context.Background(), message(0))
				if errors.Is(err, billing.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				taken.Add(1)
			}
		})
	}
	eventually(t, "some were taken", func() bool { return taken.Load() > 2000 })
	closeSink(t, s)
	wg.Wait()
	if got := int64(len(linesOf(t, path))); got != taken.Load() {
		t.Errorf("%d taken, %d written", taken.Load(), got)
	}
}

// go test ./extproc/billing/sinks -run '^$' -bench File -benchmem
func BenchmarkFile(b *testing.B) {
	for name, n := range map[string]int{"one": 1, "batch=256": 256} {
		b.Run(name, func(b *testing.B) {
			log, _ := loglines.New()
			s, err := Open(&catalog.Sink{File: filepath.Join(b.TempDir(), "events.jsonl")}, nil, log)
			if err != nil {
				b.Fatal(err)
			}
			ms := make([]billing.Message, n)
			for i := range ms {
				ms[i] = billing.Message{ID: "x", Body: []byte(strings.Repeat("x", 1800))}
			}
			b.SetBytes(int64(n * 1800))
			b.ReportAllocs()
			for b.Loop() {
				if errs := s.DeliverAll(context.Background(), ms); errs != nil {
					b.Fatal(errs)
				}
			}
			if err := s.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
