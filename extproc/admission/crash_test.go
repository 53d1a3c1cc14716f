package admission

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// model is what a Book should know: the naive second implementation.
type model map[string]kind

// step does one random thing to both.
func step(rt *rapid.T, b *Book, m model, n int) {
	id := fmt.Sprint("id", rapid.IntRange(0, n).Draw(rt, "id"))
	switch rapid.SampledFrom([]string{"admit", "admit", "finish", "give up", "deliver"}).Draw(rt, "step") {
	case "admit":
		if _, ok := m[id]; ok {
			return // an id is new
		}
		if err := b.Admit(id, []byte("quote of "+id)); err != nil {
			rt.Fatal(err)
		}
		m[id] = kindAdmitted
	case "finish", "give up":
		k, status := kindSettled, billing.Completed
		if rapid.Bool().Draw(rt, "unsettled") {
			k, status = kindUnsettled, billing.Unsettled
		}
		first, err := b.Finish(id, status, []byte("event of "+id))
		if want := m[id].rank() < 2; err != nil || first != want {
			rt.Fatalf("finish %s: first=%v, want %v; %v", id, first, want, err)
		}
		if first {
			m[id] = k
		}
	case "deliver":
		id := deliverOne(rt, b)
		switch m[id] {
		case kindSettled:
			m[id] = kindDone
		case kindUnsettled:
			m[id] = kindGhost
		}
	}
}

// deliverOne delivers the oldest event, and returns its id.
func deliverOne(rt *rapid.T, b *Book) string {
	if err := b.flush(); err != nil {
		rt.Fatal(err)
	}
	events, err := b.ready(1)
	if err != nil {
		rt.Fatal(err)
	}
	if len(events) == 0 {
		return ""
	}
	b.Published(events[0].ID, 1)
	if err := b.Delivered(1); err != nil {
		rt.Fatal(err)
	}
	return events[0].ID
}

// TestTruncatedAnywhere: a log whose last segment ends anywhere is as it was before
// the first record that is not whole.
func TestTruncatedAnywhere(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		b, err := Open(Options{Dir: dir, Log: quiet, segment: int64(rapid.SampledFrom([]int{200, 1000, 100_000}).Draw(rt, "segment"))})
		if err != nil {
			rt.Fatal(err)
		}
		b.tidying.Lock() // what is written anew is flushed before the original goes: not cut
		defer func() { b.tidying.Unlock(); _ = b.Close(t.Context()) }()
		m := model{}
		type moment struct {
			segment uint64
			size    int64
			m       model
		}
		past := []moment{{}}
		for range rapid.IntRange(0, 60).Draw(rt, "steps") {
			step(rt, b, m, 20)
			b.mu.Lock()
			cur := b.store.cur
			b.mu.Unlock()
			if cur != nil { // only this goroutine changes it
				past = append(past, moment{cur.number, cur.size, maps.Clone(m)})
			}
		}
		last := past[len(past)-1]
		cut := rapid.Int64Range(0, last.size).Draw(rt, "cut")
		after := t.TempDir()
		if err := os.CopyFS(after, os.DirFS(dir)); err != nil {
			rt.Fatal(err)
		}
		if last.size > 0 {
			if err := os.Truncate(filepath.Join(after, fmt.Sprintf("%016d%s", last.segment, suffix)), cut); err != nil {
				rt.Fatal(err)
			}
		}
		want := model{}
		for _, p := range past {
			if p.segment < last.segment || p.size <= cut {
				want = p.m
			}
		}
		checkRecovered(rt, t, after, want)
	})
}

// TestDamagedAnywhere: a flipped byte costs the record that it is in and no other.
func TestDamagedAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var data []byte
		n := rapid.IntRange(1, 10).Draw(rt, "records")
		var ends []int
		for i := range n {
			body := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(rt, "body")
			data = appendRecord(data, kindAdmitted, fmt.Sprint(i), body)
			ends = append(ends, len(data))
		}
		at := rapid.IntRange(0, len(data)-1).Draw(rt, "at")
		data[at] ^= byte(rapid.IntRange(1, 255).Draw(rt, "flip"))
		var got []string
		scan(data, func(r record) { got = append(got, string(r.id)) })
		hit, _ := slices.BinarySearch(ends, at+1)
		var want []string
		for i := range n {
			if i != hit {
				want = append(want, fmt.Sprint(i))
			}
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("records %v, want %v", got, want)
		}
	})
}

func checkRecovered(rt *rapid.T, t *testing.T, dir string, want model) {
	b, err := Open(Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		rt.Fatal(err)
	}
	defer func() {
		if err := b.Close(t.Context()); err != nil {
			rt.Fatal(err)
		}
	}()
	var open, ready []string
	for id, k := range want {
		switch k {
		case kindAdmitted:
			open = append(open, id)
		case kindSettled, kindUnsettled:
			ready = append(ready, id)
		}
		if b.Known(id) != (k.rank() > 1) {
			rt.Fatalf("%s is known: %v, it was %c", id, b.Known(id), k)
		}
	}
	slices.Sort(open)
	slices.Sort(ready)
	gotReady := readyIDs(t, b)
	slices.Sort(gotReady)
	if got := openIDs(t, b); !slices.Equal(got, open) || !slices.Equal(gotReady, ready) {
		rt.Fatalf("open %v, want %v; ready %v, want %v", got, open, gotReady, ready)
	}
}
