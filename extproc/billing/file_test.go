package billing

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

func message(i int) Message {
	return Message{ID: fmt.Sprint(i), Body: fmt.Appendf(nil, `{"id":"%d"}`, i)}
}

func deliver(t *testing.T, s Sink, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := s.Deliver(t.Context(), message(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func openSink(t *testing.T, path string) (*FileSink, *lockedBuffer) {
	t.Helper()
	log, lines := logged()
	s, err := NewFileSink(path, log)
	if err != nil {
		t.Fatal(err)
	}
	return s, lines
}

func closeSink(t *testing.T, s Sink) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func linesOf(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		out = append(out, sc.Text())
	}
	return out
}

// wantMessages checks that exactly these stand there, each on a line of its own.
func wantMessages(t *testing.T, got []string, from, to int) {
	t.Helper()
	if len(got) != to-from {
		t.Fatalf("%d lines, want %d", len(got), to-from)
	}
	for i, line := range got {
		if want := string(message(from + i).Body); line != want {
			t.Fatalf("line %d is %q, want %q", i+1, line, want)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

func TestFileSink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "deep", "events.jsonl")
	s, _ := openSink(t, path)
	deliver(t, s, 0, 3000)
	closeSink(t, s)
	wantMessages(t, linesOf(t, path), 0, 3000)

	for p, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700, filepath.Dir(filepath.Dir(path)): 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v (%v)", p, info.Mode().Perm(), want, err)
		}
	}
	if err := s.Deliver(t.Context(), message(0)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	closeSink(t, s) // again

	s, _ = openSink(t, path) // a restart appends
	deliver(t, s, 3000, 3001)
	closeSink(t, s)
	wantMessages(t, linesOf(t, path), 0, 3001)
}

func TestFileSinkMakesAnOpenFilePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(path, []byte(`{"id":"torn`), 0o644); err != nil {
		t.Fatal(err)
	}
	s, _ := openSink(t, path)
	deliver(t, s, 0, 1)
	closeSink(t, s)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := linesOf(t, path); len(got) != 2 || got[1] != string(message(0).Body) {
		t.Errorf("an event was written to the end of a torn line: %q", got)
	}
}

func TestFileSinkFollowsRotation(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "events.jsonl"), filepath.Join(dir, "events.jsonl.1")
	s, _ := openSink(t, path)
	deliver(t, s, 0, 2)
	eventually(t, "two lines", func() bool { return len(linesOf(t, path)) == 2 })
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	deliver(t, s, 2, 4)
	eventually(t, "a new file", func() bool {
		_, err := os.Stat(path)
		return err == nil && len(linesOf(t, path)) == 2
	})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	deliver(t, s, 4, 5)
	closeSink(t, s)
	wantMessages(t, linesOf(t, old), 0, 2)
	wantMessages(t, linesOf(t, path), 4, 5)
}

func TestFileSinkNeedsAFile(t *testing.T) {
	log, _ := logged()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Dir(file), filepath.Join(file, "below")} {
		if _, err := NewFileSink(path, log); err == nil || !strings.Contains(err.Error(), path) && !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A disk that is always full: nothing is dropped while there is hope, and what is
// lost at the end is counted and named.
func TestFileSinkFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full on this system") // Linux has it; TestFileSinkTriesAgain covers the rest elsewhere
	}
	s, lines := openSink(t, "/dev/full")
	deliver(t, s, 0, 3)
	eventually(t, "an error in the log", func() bool { return strings.Contains(lines.String(), "cannot write") })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(ctx); err == nil || !strings.Contains(err.Error(), "3 events") {
		t.Errorf("Close: %v", err)
	}
	if !strings.Contains(lines.String(), "events lost") {
		t.Errorf("logged %q", lines)
	}
}

// rigged is a file whose writes a test decides on.
type rigged struct {
	file
	write func(p []byte) (n int, err error)
}

func (r *rigged) Write(p []byte) (int, error) { return r.write(p) }

// rig opens real files whose writes go through write.
func rig(write func(f file, p []byte) (int, error)) opener {
	return func(path string) (file, error) {
		f, err := openLine(path)
		if err != nil {
			return nil, err
		}
		return &rigged{file: f, write: func(p []byte) (int, error) { return write(f, p) }}, nil
	}
}

// A disk that is full for a while, in the middle of a line: no line is lost, torn
// or written twice.
func TestFileSinkTriesAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	failures := 0
	log, lines := logged()
	s, err := newFileSink(path, log, rig(func(f file, p []byte) (int, error) {
		if failures++; failures > 3 {
			return f.Write(p)
		}
		n, err := f.Write(p[:min(len(p), 7)])
		return n, errors.Join(err, errors.New("disk full"))
	}))
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, s, 0, 50)
	eventually(t, "it writes again", func() bool { return strings.Contains(lines.String(), "writes again") })
	closeSink(t, s)
	wantMessages(t, linesOf(t, path), 0, 50)
}

// The file is rotated away while a line is torn: the line is whole in the new one.
func TestFileSinkTornLineAndRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	first := true
	log, _ := logged()
	s, err := newFileSink(path, log, rig(func(f file, p []byte) (int, error) {
		if !first {
			return f.Write(p)
		}
		first = false
		n, err := f.Write(p[:5])
		return n, errors.Join(err, os.Rename(path, path+".1"), errors.New("disk full"))
	}))
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, s, 0, 1)
	eventually(t, "a new file", func() bool { _, err := os.Stat(path); return err == nil })
	deliver(t, s, 1, 2)
	closeSink(t, s)
	wantMessages(t, linesOf(t, path), 0, 2)
}

// A writer that stands still blocks those who deliver, and drops nothing.
func TestFileSinkBlocksWhenFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	gate, writing := make(chan struct{}), make(chan struct{}, 1)
	log, _ := logged()
	s, err := newFileSink(path, log, rig(func(f file, p []byte) (int, error) {
		select {
		case writing <- struct{}{}:
		default:
		}
		<-gate
		return f.Write(p)
	}))
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, s, 0, 1)
	<-writing
	deliver(t, s, 1, 1+fileQueue)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Deliver(ctx, message(-1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a full sink took one more: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Deliver(context.Background(), message(1+fileQueue)) }()
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	closeSink(t, s)
	wantMessages(t, linesOf(t, path), 0, fileQueue+2)
}

// Close while others deliver: what was taken is written, and the rest is refused.
func TestFileSinkCloseInTheMiddle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	s, _ := openSink(t, path)
	var mu sync.Mutex
	taken := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				err := s.Deliver(context.Background(), message(0))
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				taken++
				mu.Unlock()
			}
		})
	}
	eventually(t, "some were taken", func() bool { mu.Lock(); defer mu.Unlock(); return taken > 2000 })
	closeSink(t, s)
	wg.Wait()
	if got := len(linesOf(t, path)); got != taken {
		t.Errorf("%d taken, %d written", taken, got)
	}
}

// go test ./extproc/billing -run '^$' -bench FileSink -benchmem
func BenchmarkFileSink(b *testing.B) {
	log, _ := logged()
	s, err := NewFileSink(filepath.Join(b.TempDir(), "events.jsonl"), log)
	if err != nil {
		b.Fatal(err)
	}
	m := Message{ID: "x", Body: []byte(strings.Repeat("x", 1200))}
	b.SetBytes(int64(len(m.Body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Deliver(context.Background(), m); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}
