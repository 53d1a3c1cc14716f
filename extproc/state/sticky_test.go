package state

import (
	"encoding/binary"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/policy/sticky"
)

func testKey(n uint64) sticky.Key {
	var k sticky.Key
	binary.BigEndian.PutUint64(k[:], n*0x9e3779b97f4a7c15) // spread, as hashes are
	binary.BigEndian.PutUint64(k[8:], n)
	return k
}

func testNow() time.Time { return time.Now() }

func lookup(t testing.TB, s *State, n uint64, now time.Time, want string) {
	t.Helper()
	if got, ok := s.Sticky().Lookup(testKey(n), now); got != want || ok != (want != "") {
		t.Errorf("conversation %d: got %q, %v; want %q", n, got, ok, want)
	}
}

func recorded(t testing.TB, s *State, n uint64, want string) {
	t.Helper()
	eventually(t, "the record is found", func() bool {
		got, _ := s.Sticky().Lookup(testKey(n), time.Now())
		return got == want
	})
}

func TestStickyRemembers(t *testing.T) {
	_, url := startNATS(t, lone(t))
	a, b := open(t, options(t, url)), open(t, options(t, url))
	current(t, a, b)
	lookup(t, a, 1, time.Now(), "")
	a.Sticky().Record(testKey(1), "novita", time.Now())
	a.Sticky().Record(testKey(2), "together", time.Now())
	recorded(t, a, 1, "novita")
	recorded(t, b, 1, "novita")
	recorded(t, b, 2, "together")
	lookup(t, b, 3, time.Now(), "")

	// The provider that answered last counts.
	b.Sticky().Record(testKey(1), "moonshot", time.Now())
	recorded(t, b, 1, "moonshot")
	recorded(t, a, 1, "moonshot")

	if now := a.Counters(); now.StickyHits == 0 || now.StickyMisses == 0 || now.StickyFailed != 0 || now.StickyDropped != 0 {
		t.Errorf("counted %+v", now)
	}
}

// Only half of a key finds the entry; the other half must fit too.
func TestStickyComparesTheWholeKey(t *testing.T) {
	s := open(t, options(t, ""))
	current(t, s)
	s.Sticky().Record(testKey(1), "novita", time.Now())
	recorded(t, s, 1, "novita")
	k := testKey(1)
	k[15]++
	if got, ok := s.Sticky().Lookup(k, time.Now()); ok {
		t.Errorf("another conversation got %s", got)
	}
}

// CACHE-4: the time to live slides; a record that changes next to nothing is not
// written.
func TestStickySlides(t *testing.T) {
	s := open(t, options(t, ""))
	current(t, s)
	start := time.Now()
	at := func(minutes float64) time.Time { return start.Add(time.Duration(minutes * float64(time.Minute))) }
	s.Sticky().Record(testKey(1), "novita", at(0))
	recorded(t, s, 1, "novita")
	lookup(t, s, 1, at(9.9), "novita")
	lookup(t, s, 1, at(10), "")

	s.Sticky().Record(testKey(1), "novita", at(0.9)) // less than a tenth later
	if n := s.Counters().StickySkipped; n != 1 {
		t.Errorf("%d records were skipped, want 1", n)
	}
	lookup(t, s, 1, at(10), "")
	s.Sticky().Record(testKey(1), "novita", at(1.1))
	if n := s.Counters().StickySkipped; n != 1 {
		t.Errorf("%d records were skipped, want 1", n)
	}
	lookup(t, s, 1, at(11), "novita")
	lookup(t, s, 1, at(11.2), "")
	// Another provider is recorded at once.
	s.Sticky().Record(testKey(1), "together", at(1.2))
	lookup(t, s, 1, at(2), "together")
	eventually(t, "three were written", func() bool { return s.Counters().StickyWritten == 3 })
}

func TestStickySurvivesRestart(t *testing.T) {
	o := options(t, "")
	s := open(t, o)
	current(t, s)
	for n := range uint64(500) {
		s.Sticky().Record(testKey(n), "novita", time.Now())
	}
	closeState(t, s) // writes what is left in the queue
	if c := s.Counters(); c.StickyWritten != 500 {
		t.Errorf("written: %+v", c)
	}
	s = open(t, o)
	for n := range uint64(500) {
		recorded(t, s, n, "novita")
	}
}

// A record older than the time to live is gone from NATS too; SetTTL reaches it.
func TestStickyTTLInNATS(t *testing.T) {
	s := open(t, options(t, ""))
	current(t, s)
	s.Sticky().Record(testKey(1), "novita", time.Now())
	eventually(t, "it was written", func() bool { return s.Counters().StickyWritten == 1 })
	if err := s.Sticky().SetTTL(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is forgotten", func() bool {
		_, ok := s.Sticky().Lookup(testKey(1), time.Now())
		stream, err := s.JetStream().Stream(t.Context(), "KV_shunt_sticky")
		return !ok && err == nil && stream.CachedInfo().State.Msgs == 0
	})
}

func TestStickyLookupDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		return // the race detector makes sync.Pool forget on purpose
	}
	s := open(t, options(t, ""))
	current(t, s)
	s.Sticky().Record(testKey(1), "novita", time.Now())
	recorded(t, s, 1, "novita")
	k, now := testKey(1), time.Now()
	if n := testing.AllocsPerRun(1000, func() { s.Sticky().Lookup(k, now) }); n > 0.1 {
		t.Errorf("%v allocations a lookup, want none", n)
	}
	if n := testing.AllocsPerRun(1000, func() { s.Sticky().Record(k, "novita", now) }); n > 0.1 {
		t.Errorf("%v allocations a record that is skipped, want none", n)
	}
}

func TestRecordForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slug := rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,63}`).Draw(t, "slug")
		at := rapid.Int64Range(1, 1<<50).Draw(t, "at")
		got, when, err := parseRecord(appendRecord(nil, slug, at))
		if err != nil || got != slug || when != at {
			t.Fatalf("%q at %d was read as %q at %d, %v", slug, at, got, when, err)
		}
	})
	for _, s := range []string{"", " ", "novita", "novita ", " 1", "novita x", "novita 1 ", "novita -1", "novita 0", "n\x00 1", "é 1", string(make([]byte, 100)) + " 1"} {
		if slug, at, err := parseRecord([]byte(s)); err == nil {
			t.Errorf("%q was read as %q at %d", s, slug, at)
		}
	}
}

func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue[int](rapid.IntRange(1, 5).Draw(t, "size"))
		var naive []int
		for i := range rapid.IntRange(0, 40).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "push") {
				dropped := q.push(i)
				if naive = append(naive, i); dropped != (len(naive) > len(q.ring)) {
					t.Fatalf("push of %d: dropped is %v", i, dropped)
				}
				naive = naive[max(0, len(naive)-len(q.ring)):]
			} else if x, ok := q.pop(); ok != (len(naive) > 0) || ok && x != naive[0] {
				t.Fatalf("pop: %d, %v; want the first of %v", x, ok, naive)
			} else if ok && rapid.Bool().Draw(t, "unpop") {
				if q.unpop(x) {
					t.Fatalf("no room for %d, which was just taken", x)
				}
			} else if ok {
				naive = naive[1:]
			} else if q.unpop(i) {
				t.Fatalf("no room for %d in an empty queue", i)
			} else {
				naive = append(naive, i)
			}
			if len(naive) == len(q.ring) && !q.unpop(-1) {
				t.Fatal("room in a full queue")
			}
			if q.len() != len(naive) {
				t.Fatalf("%d in the queue, want %d", q.len(), len(naive))
			}
		}
	})
}
