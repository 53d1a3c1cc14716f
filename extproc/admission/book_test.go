package admission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Check(m.Run())) }

// logger is a log that can be read.
type logger struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logger) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logger) slog() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// begin opens a Book that the test closes.
func begin(t testing.TB, o Options) *Book {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b, err := Open(o)
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

// crashed opens what is on the disk of b, which was not closed: a killed process
// has written what b has written.
func crashed(t testing.TB, b *Book) *Book {
	t.Helper()
	dir := t.TempDir()
	b.tidying.Lock()
	defer b.tidying.Unlock()
	if err := os.CopyFS(dir, os.DirFS(b.opt.Dir)); err != nil {
		t.Fatal(err)
	}
	o := b.opt
	o.Dir, o.open = dir, nil
	return begin(t, o)
}

func admit(t testing.TB, b *Book, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := b.Admit(id, []byte("quote of "+id)); err != nil {
			t.Fatal(err)
		}
	}
}

func finish(t testing.TB, b *Book, status billing.Status, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if first, err := b.Finish(id, status, []byte("event of "+id)); err != nil || !first {
			t.Fatalf("%s: first=%v, %v", id, first, err)
		}
	}
}

// deliver publishes and delivers all that is ready.
func deliver(t testing.TB, b *Book) {
	t.Helper()
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	events, err := b.ready(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		b.Published(e.ID, uint64(i+1))
	}
	if err := b.Delivered(uint64(len(events))); err != nil {
		t.Fatal(err)
	}
}

func openIDs(t testing.TB, b *Book) []string {
	t.Helper()
	silent, err := b.Silent(-1<<62, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range silent {
		if r.Quote != "quote of "+r.ID {
			t.Errorf("%s has the quote %q", r.ID, r.Quote)
		}
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return ids
}

func readyIDs(t testing.TB, b *Book) []string {
	t.Helper()
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	events, err := b.ready(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range events {
		if string(e.Body) != "event of "+e.ID {
			t.Errorf("%s has the event %q", e.ID, e.Body)
		}
		ids = append(ids, e.ID)
	}
	return ids
}

// BILL-1: nothing that was admitted is forgotten by a process that is killed.
func TestKilledProcessLosesNothing(t *testing.T) {
	b := begin(t, Options{})
	admit(t, b, "open", "settled", "done")
	finish(t, b, billing.Completed, "done")
	deliver(t, b)
	finish(t, b, billing.Failed, "settled")
	again := crashed(t, crashed(t, b)) // twice: recovery leaves a log that can be recovered
	if ids := openIDs(t, again); !slices.Equal(ids, []string{"open"}) {
		t.Errorf("open: %v", ids)
	}
	if ids := readyIDs(t, again); !slices.Equal(ids, []string{"settled"}) {
		t.Errorf("ready: %v", ids)
	}
	for _, id := range []string{"settled", "done"} {
		if first, err := again.Finish(id, billing.Completed, []byte("other")); first || err != nil {
			t.Errorf("%s is billed twice (%v)", id, err)
		}
	}
}

// BILL-1: the first event is final, whoever comes with a second one at whatever time.
func TestFirstEventIsFinal(t *testing.T) {
	b := begin(t, Options{})
	admit(t, b, "a")
	var firsts atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			status := []billing.Status{billing.Completed, billing.Unsettled}[i%2]
			if first, err := b.Finish("a", status, fmt.Appendf(nil, "event %d", i)); err != nil {
				t.Error(err)
			} else if first {
				firsts.Add(1)
			}
		})
	}
	wg.Wait()
	if firsts.Load() != 1 {
		t.Errorf("%d events are the first", firsts.Load())
	}
	deliver(t, b)
	if first, _ := b.Finish("a", billing.Completed, nil); first || !b.Known("a") {
		t.Error("billed again after its delivery")
	}
}

// A request that was given up and then reported after all, over restarts and after
// its segment has gone.
func TestLateReportAfterUnsettled(t *testing.T) {
	b := begin(t, Options{segment: 1 << 10, MaxBytes: 1 << 20})
	admit(t, b, "late")
	finish(t, b, billing.Unsettled, "late")
	deliver(t, b)
	for i := range 200 {
		id := fmt.Sprint("other", i)
		admit(t, b, id)
		finish(t, b, billing.Completed, id)
		deliver(t, b)
	}
	b.tidyUp()
	if _, err := os.Stat(filepath.Join(b.opt.Dir, fmt.Sprintf("%016d.log", 0))); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the first segment is still there: %v", err)
	}
	again := crashed(t, b)
	if first, err := again.Finish("late", billing.Completed, []byte("event of late")); first || err != nil {
		t.Errorf("billed after it was given up (%v)", err)
	}
}

// Requests that were admitted elsewhere are billed all the same, once.
func TestFinishOfUnknown(t *testing.T) {
	b := begin(t, Options{})
	finish(t, b, billing.Completed, "foreign")
	if first, _ := b.Finish("foreign", billing.Completed, nil); first {
		t.Error("billed twice")
	}
	if ids := readyIDs(t, crashed(t, b)); !slices.Equal(ids, []string{"foreign"}) {
		t.Errorf("ready: %v", ids)
	}
}

type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) forward(d time.Duration) { c.at.Add(int64(d)) }
func silentIDs(b *Book, d time.Duration) []string {
	var ids []string
	silent, _ := b.Silent(d, 100)
	for _, r := range silent {
		ids = append(ids, r.ID)
	}
	return ids
}

func TestHeartbeats(t *testing.T) {
	c := &clock{}
	b := begin(t, Options{now: c.now})
	admit(t, b, "a", "b")
	c.forward(50 * time.Second)
	b.Heard("a", &billing.Record{AnswerBytes: 7})
	b.Heard("nobody", nil)
	c.forward(20 * time.Second)
	if ids := silentIDs(b, time.Minute); !slices.Equal(ids, []string{"b"}) {
		t.Errorf("silent for a minute: %v", ids)
	}
	c.forward(time.Minute)
	silent, err := b.Silent(time.Minute, 1)
	if err != nil || len(silent) != 1 || silent[0].ID != "b" || silent[0].Last != nil {
		t.Errorf("the one that is silent for longest: %+v, %v", silent, err)
	}
	if silent, _ := b.Silent(time.Minute, 9); len(silent) != 2 || silent[1].Last.AnswerBytes != 7 {
		t.Errorf("silent: %+v", silent)
	}
	c.forward(-time.Hour) // a clock that is not monotonic ends nothing early
	if ids := silentIDs(b, time.Minute); len(ids) != 0 {
		t.Errorf("silent with the clock set back: %v", ids)
	}
}

// failing is a file on a disk that is full while full is set.
type failing struct {
	file
	full *atomic.Bool
	some int // bytes that are written all the same
}

func (f *failing) Write(p []byte) (int, error) {
	if !f.full.Load() {
		return f.file.Write(p)
	}
	n, _ := f.file.Write(p[:min(f.some, len(p))])
	return n, syscall.ENOSPC
}

func onDisk(full *atomic.Bool, some int) func(string) (file, error) {
	return func(path string) (file, error) {
		f, err := createFile(path)
		return &failing{f, full, some}, err
	}
}

func TestFullDisk(t *testing.T) {
	for _, some := range []int{0, 1, 20} {
		var full atomic.Bool
		var log logger
		b := begin(t, Options{open: onDisk(&full, some), Log: log.slog()})
		admit(t, b, "a", "b")
		full.Store(true)
		if err := b.Admit("c", []byte("quote of c")); !errors.Is(err, ErrDisk) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("admitted without a record: %v", err)
		}
		// Its event waits in memory and goes nowhere: a crash would end in another one.
		finish(t, b, billing.Completed, "a")
		if ids := readyIDs(t, b); len(ids) > 0 || !b.Known("a") {
			t.Fatalf("ready: %v", ids)
		}
		if ids := openIDs(t, crashed(t, b)); !slices.Equal(ids, []string{"a", "b"}) {
			t.Errorf("open after a crash: %v", ids)
		}
		full.Store(false)
		admit(t, b, "c")
		if ids := readyIDs(t, b); !slices.Equal(ids, []string{"a"}) {
			t.Fatalf("ready when there is room: %v", ids)
		}
		deliver(t, b)
		again := crashed(t, b)
		if ids := openIDs(t, again); !slices.Equal(ids, []string{"b", "c"}) || len(readyIDs(t, again)) > 0 {
			t.Errorf("open after the disk has room: %v", ids)
		}
		if n := b.Stats(); n.Refused != 1 || n.DiskErrors < 2 {
			t.Errorf("%+v", n)
		}
		if strings.Count(log.String(), "cannot write") != 1 || !strings.Contains(log.String(), "writes again") {
			t.Errorf("logged %s", log.String())
		}
	}
}

// With drop_oldest, requests go on without a record.
func TestFullDiskDropOldest(t *testing.T) {
	var full atomic.Bool
	full.Store(true)
	b := begin(t, Options{open: onDisk(&full, 5), OnFull: DropOldest})
	admit(t, b, "a", "b")
	finish(t, b, billing.Completed, "a")
	if ids := openIDs(t, b); !slices.Equal(ids, []string{"b"}) {
		t.Errorf("open: %v", ids)
	}
	if ids := readyIDs(t, b); !slices.Equal(ids, []string{"a"}) {
		t.Errorf("ready: %v", ids)
	}
}

// What is not on the disk itself is not shown to anybody: a crash of the machine could
// take it, leave the admission, and a second event would be made.
func TestReadyIsOnTheDisk(t *testing.T) {
	b := begin(t, Options{Flush: time.Hour})
	admit(t, b, "a")
	finish(t, b, billing.Completed, "a")
	if events, err := b.ready(1); len(events) > 0 || err != nil {
		t.Fatalf("ready before the flush: %v, %v", events, err)
	}
	if ids := readyIDs(t, b); !slices.Equal(ids, []string{"a"}) { // flushes
		t.Errorf("ready: %v", ids)
	}
}

func TestBlocksWhenFull(t *testing.T) {
	b := begin(t, Options{segment: 2 << 10, MaxBytes: 16 << 10})
	n := 0
	for ; n < 10_000; n++ {
		id := fmt.Sprint(n)
		if err := b.Admit(id, []byte("quote of "+id)); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
		finish(t, b, billing.Completed, id)
	}
	if n < 50 || n == 10_000 {
		t.Fatalf("full after %d requests", n)
	}
	b.tidyUp()
	if got := len(readyIDs(t, b)); got != n {
		t.Errorf("%d events are ready, want %d", got, n)
	}
	deliver(t, b)
	b.tidyUp()
	admit(t, b, "more")
	if s := b.Stats(); s.Bytes > 16<<10 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
}

func TestDropsOldestWhenFull(t *testing.T) {
	var log logger
	b := begin(t, Options{segment: 2 << 10, MaxBytes: 16 << 10, OnFull: DropOldest, Log: log.slog()})
	const n = 1000
	admit(t, b, "open")
	for i := range n {
		id := fmt.Sprint(i)
		admit(t, b, id)
		finish(t, b, billing.Completed, id)
		b.tidyUp()
	}
	left := readyIDs(t, b)
	s := b.Stats()
	if s.Bytes > 24<<10 || len(left)+int(s.Dropped) != n || s.Dropped == 0 || left[len(left)-1] != fmt.Sprint(n-1) {
		t.Errorf("%d left, %+v", len(left), s)
	}
	if !strings.Contains(log.String(), "LOST") {
		t.Error("nothing was logged")
	}
	if ids := openIDs(t, crashed(t, b)); !slices.Equal(ids, []string{"open"}) {
		t.Errorf("open: %v", ids)
	}
}

// Old segments go although a request that began in one of them goes on.
func TestLongRequestDoesNotHoldTheLog(t *testing.T) {
	b := begin(t, Options{segment: 4 << 10, MaxBytes: 1 << 20})
	admit(t, b, "long")
	for i := range 5000 {
		id := fmt.Sprint(i)
		admit(t, b, id)
		finish(t, b, billing.Completed, id)
		if i%50 == 49 {
			deliver(t, b)
			b.tidyUp()
		}
	}
	if s := b.Stats(); s.Bytes > 6*4<<10 || s.Open != 1 {
		t.Errorf("%+v", s)
	}
	if ids := openIDs(t, crashed(t, b)); !slices.Equal(ids, []string{"long"}) {
		t.Errorf("open: %v", ids)
	}
}

func TestUnpublished(t *testing.T) {
	b := begin(t, Options{})
	for _, id := range []string{"a", "b", "c", "d"} {
		finish(t, b, billing.Completed, id)
	}
	b.Published("a", 7)
	b.Published("b", 8)
	if highest, ok := b.Undelivered(); highest != 8 || !ok {
		t.Errorf("undelivered: %d, %v", highest, ok)
	}
	b.Unpublished()
	if ids := readyIDs(t, b); !slices.Equal(ids, []string{"a", "b", "c", "d"}) {
		t.Errorf("ready: %v", ids)
	}
}

func TestReadyWaits(t *testing.T) {
	b := begin(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan []Event)
	go func() {
		events, _ := b.Ready(ctx, 10)
		got <- events
		_, err := b.Ready(ctx, 0)
		got <- []Event{{ID: fmt.Sprint(err)}}
	}()
	finish(t, b, billing.Completed, "a")
	if events := <-got; len(events) != 1 || events[0].ID != "a" {
		t.Errorf("%v", events)
	}
	cancel()
	if events := <-got; events[0].ID != context.Canceled.Error() {
		t.Errorf("%v", events)
	}
}

func TestFilesArePrivate(t *testing.T) {
	b := begin(t, Options{Dir: filepath.Join(t.TempDir(), "log")})
	admit(t, b, "a")
	for path, want := range map[string]fs.FileMode{b.opt.Dir: 0o700, filepath.Join(b.opt.Dir, "0000000000000000.log"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("SEC-3: %s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestClosed(t *testing.T) {
	b := begin(t, Options{})
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Admit("a", nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := b.Finish("a", billing.Completed, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	for _, id := range []string{"", strings.Repeat("x", 256)} {
		if err := b.Admit(id, nil); err == nil {
			t.Errorf("an id of %d bytes", len(id))
		}
	}
}
