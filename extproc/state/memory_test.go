package state

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/policy/prefs"
)

// long: make test-long.
func long() bool { return os.Getenv("SHUNT_TEST_LONG") != "" }

// resident is the process's memory in bytes, after everything that can be given back
// was.
func resident(t testing.TB) int64 {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); fields[0] == "VmRSS:" {
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// typical is what a user with some opinions saves.
func typical(i int) prefs.Document {
	return prefs.Document{
		Preferred: []string{"novita", "together", "moonshot"}, Excluded: []string{"cloudflare"},
		Models: map[string]prefs.Override{"moonshotai/kimi-k2.6": {Preferred: []string{fmt.Sprintf("provider-%d", i%50)}, EnableFallback: new(false)}},
	}
}

const aloneVariable = "SHUNT_TEST_STATE_ALONE"

// heap is what lives in Go's heap, in bytes, after a collection. Unlike resident memory,
// and unlike what the heap has in use, it is the same under the race detector and does
// not hang on where the allocator found room.
func heap() int64 {
	least := int64(1 << 62)
	for range 5 { // what a first collection finalizes, or sync.Pools and other goroutines hold
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		least = min(least, int64(m.HeapAlloc))
	}
	return least
}

// What a cache holds stays within its limit, counted in memory and not in the cache's
// own arithmetic: so the costs in coherence.go and sticky.go are right.
//
//	SHUNT_TEST_LONG=1 go test ./extproc/state -run TestMemory -v
func TestMemory(t *testing.T) {
	if os.Getenv(aloneVariable) == "" { // other tests leave things in the heap
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemory$", "-test.v")
		cmd.Env = append(os.Environ(), aloneVariable+"=1")
		out, err := cmd.CombinedOutput()
		if t.Logf("%s", out); err != nil {
			t.Error(err)
		}
		return
	}
	limit := int64(4 << 20)
	if long() {
		limit = 64 << 20
	}
	check := func(what string, before int64, held int) {
		t.Helper()
		took := heap() - before
		t.Logf("%s: %d held, %d bytes each, %d MiB of %d MiB", what, held, took/int64(max(held, 1)), took>>20, limit>>20)
		if took > limit+limit/4 {
			t.Errorf("%s: %d bytes of memory with a limit of %d", what, took, limit)
		}
		if took < limit/3 {
			t.Errorf("%s: only %d bytes of memory are used of %d", what, took, limit)
		}
	}

	before := heap()
	byUser, err := newCache[string, *entry](limit, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, world)
	p := &Preferences{count: new(counters)}
	users := int(limit / 600)
	for i := range users {
		e := p.decode("u", value{typical(i).Encode(), uint64(i + 1)})
		e.resolved.Store(&resolved{c, Resolve(e.document(), c)})
		byUser.put(fmt.Sprintf("%032x", i), e, int64(e.cost), 0)
		if i%1000 == 0 {
			byUser.settle()
		}
	}
	byUser.settle()
	held := 0
	for i := range users {
		if _, ok := byUser.get(fmt.Sprintf("%032x", i)); ok {
			held++
		}
	}
	check("preferences", before, held)
	byUser.close()

	before = heap()
	byKey, err := newCache[uint64, record](limit, func(k uint64) (uint64, uint64) { return k, 0 })
	if err != nil {
		t.Fatal(err)
	}
	records := uint64(limit / 100)
	for i := range records {
		key, other := halves(testKey(i))
		byKey.put(key, record{other, time.Now().UnixMilli(), uint32(i % 50)}, costRecord, time.Hour)
		if i%settleEvery == 0 {
			byKey.settle()
		}
	}
	byKey.settle()
	held = 0
	for i := range records {
		key, _ := halves(testKey(i))
		if _, ok := byKey.get(key); ok {
			held++
		}
	}
	check("stickiness", before, held)
	byKey.close()
}

// A hundred thousand users and a million conversations, with the limits of the default
// configuration: what the caches take, and what the embedded NATS takes besides.
//
//	SHUNT_TEST_LONG=1 go test ./extproc/state -run TestManyUsers -v -timeout 20m
func TestManyUsers(t *testing.T) {
	if !long() {
		return // minutes; make test-long
	}
	if raceEnabled { // its memory is a multiple: once more, without it
		cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-timeout=30m", "-run=^TestManyUsers$", ".")
		out, err := cmd.CombinedOutput()
		if t.Logf("%s", out); err != nil {
			t.Error(err)
		}
		return
	}
	const users, conversations = 100_000, 1_000_000
	o := options(t, "")
	o.State.Cache.Preferences, o.State.Cache.Sticky = 64<<20, 256<<20
	o.StickyTTL = time.Hour
	before := resident(t)
	s := open(t, o)
	current(t, s)
	start := time.Now()
	var next atomic.Int64
	workers := make(chan error, 16)
	for range cap(workers) {
		go func() {
			for i := next.Add(1); i <= users; i = next.Add(1) {
				_, err := s.Preferences().Update(t.Context(), fmt.Sprintf("%032x", i), func(prefs.Document) (prefs.Document, error) { return typical(int(i)), nil })
				if err != nil {
					workers <- err
					return
				}
			}
			workers <- nil
		}()
	}
	for range cap(workers) {
		if err := <-workers; err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d preferences written in %v; resident: %d MiB more", users, time.Since(start).Round(time.Second), (resident(t)-before)>>20)
	start = time.Now()
	for n := range uint64(conversations) {
		s.Sticky().Record(testKey(n), "novita", time.Now())
		for s.Health().StickyQueue > queueSize/2 {
			runtime.Gosched() // a test records faster than any traffic does
		}
	}
	eventually(t, "all were written", func() bool { return s.Counters().StickyWritten == conversations })
	t.Logf("%d conversations written in %v; resident: %d MiB more; %+v", conversations, time.Since(start).Round(time.Second), (resident(t)-before)>>20, s.Counters())
	report(t, s, users, conversations)
	closeState(t, s)

	after := resident(t)
	start = time.Now()
	s = open(t, o)
	opened := time.Since(start)
	current(t, s)
	t.Logf("opened again in %v, current after %v; resident: %d MiB more than closed", opened.Round(time.Millisecond), time.Since(start).Round(time.Millisecond), (resident(t)-after)>>20)
	report(t, s, users, conversations)
	took := resident(t) - before
	caches := o.State.Cache.Preferences + o.State.Cache.Sticky
	t.Logf("resident: %d MiB more than at the beginning; the caches may take %d MiB", took>>20, caches>>20)
	if took > 4*caches {
		t.Errorf("%d bytes of memory, with caches of %d", took, caches)
	}
}

func report(t *testing.T, s *State, users, conversations int) {
	t.Helper()
	inMemory := 0
	for i := range users {
		if _, ok := s.prefs.cache.get(fmt.Sprintf("%032x", i+1)); ok {
			inMemory++
		}
	}
	found := 0
	for n := range uint64(conversations) {
		if _, ok := s.Sticky().Lookup(testKey(n), time.Now()); ok {
			found++
		}
	}
	t.Logf("in memory: %d of %d users, %d of %d conversations", inMemory, users, found, conversations)
}
