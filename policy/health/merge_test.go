package health

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/catalog"
)

// known is all that a table knows, in a form to compare: figures, and the records of
// other instances.
func known(t *Table, now time.Time) any {
	type offers struct {
		figures []Figures
		remote  [][]remote
	}
	var o offers
	for i := range t.offers {
		t.published[i] = Figures{} // the order of messages shows in what steadied held on to
		o.figures = append(o.figures, t.figures(i, now.UnixNano()))
		o.remote = append(o.remote, slices.Clone(t.offers[i].remote))
	}
	return o
}

func mustMerge(t interface{ Fatal(...any) }, to *Table, now time.Time, messages ...[]byte) {
	for _, m := range messages {
		if err := to.Merge(m, now); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMergeCommutes: messages of several instances, deltas and whole states, come to
// the same in any order, and however often.
//
//	go test ./policy/health -run TestMergeCommutes -rapid.checks 10000
func TestMergeCommutes(t *testing.T) {
	const offers = 4
	cat := market(t, 2, 2)
	rapid.Check(t, func(t *rapid.T) {
		now := noon
		var messages [][]byte
		others := make([]*Table, 3)
		skews := make([]time.Duration, 3) // of their clocks
		for i := range others {
			others[i] = New(cat, cat.Routing.Health, uint64(i)+10)
			skews[i] = rapid.SampledFrom([]time.Duration{0, 0, mnt, -mnt}).Draw(t, "skew")
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 700, 40_000}).Draw(t, "pause")) * ms)
			k := rapid.IntRange(0, len(others)-1).Draw(t, "instance")
			from, now := others[k], now.Add(skews[k])
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				if m := from.AppendDelta(nil, 1<<20, now); m != nil {
					messages = append(messages, m)
				}
			case 1:
				m, _ := from.AppendState(nil, 0, 1<<20, now)
				messages = append(messages, m)
			case 2:
				if len(messages) > 0 {
					mustMerge(t, from, now, rapid.SampledFrom(messages).Draw(t, "heard"))
				}
			default:
				ev := drawEvent(t, offers)
				for range rapid.IntRange(1, 12).Draw(t, "times") {
					from.Apply(&ev, now)
				}
			}
		}
		a, b := New(cat, cat.Routing.Health, 1), New(cat, cat.Routing.Health, 1)
		own := drawEvent(t, offers)
		a.Apply(&own, now)
		b.Apply(&own, now)
		mustMerge(t, a, now, messages...)
		shuffled := rapid.Permutation(messages).Draw(t, "order")
		if len(messages) > 0 {
			shuffled = append(shuffled, rapid.SliceOfN(rapid.SampledFrom(messages), 0, 5).Draw(t, "again")...)
		}
		mustMerge(t, b, now, shuffled...)
		if !reflect.DeepEqual(known(a, now), known(b, now)) {
			t.Fatalf("two orders of %d messages come to\n%+v\n%+v", len(messages), known(a, now), known(b, now))
		}
		before := known(a, now)
		mustMerge(t, a, now, messages...)
		if !reflect.DeepEqual(before, known(a, now)) {
			t.Fatal("merging twice is not merging once")
		}
	})
}

// TestMergeAssociates: it is the same whether one learns from two, or from one of them
// who has learned from the other.
func TestMergeAssociates(t *testing.T) {
	const offers = 4
	cat := market(t, 2, 2)
	rapid.Check(t, func(t *rapid.T) {
		now := noon
		var state [3][]byte
		all := func(of *Table) []byte {
			m, _ := of.AppendState(nil, 0, 1<<20, now)
			return m
		}
		tables := make([]*Table, 3)
		for i := range tables {
			tables[i] = New(cat, cat.Routing.Health, uint64(i)+10)
		}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 700, 40_000}).Draw(t, "pause")) * ms)
			ev := drawEvent(t, offers)
			tables[rapid.IntRange(0, 2).Draw(t, "instance")].Apply(&ev, now)
		}
		for i := range tables {
			state[i] = all(tables[i])
		}
		left, right := New(cat, cat.Routing.Health, 1), New(cat, cat.Routing.Health, 1)
		mustMerge(t, tables[0], now, state[1])
		mustMerge(t, left, now, all(tables[0]), state[2])
		mustMerge(t, tables[1], now, state[2])
		mustMerge(t, right, now, state[0], all(tables[1]))
		if !reflect.DeepEqual(known(left, now), known(right, now)) {
			t.Fatalf("two ways come to\n%+v\n%+v", known(left, now), known(right, now))
		}
	})
}

// Samples of several instances are as good as samples of one.
func TestMergedSamplesAdd(t *testing.T) {
	cat := market(t, 1, 2)
	one := New(cat, cat.Routing.Health, 1)
	var tables []*Table
	for i := range 3 {
		tables = append(tables, New(cat, cat.Routing.Health, uint64(i)+2))
	}
	for i := range 30 {
		ev := ok(i%2, time.Duration(100+i*37%300)*ms)
		one.Apply(&ev, noon)
		tables[i%3].Apply(&ev, noon)
	}
	mustMerge(t, tables[0], noon, tables[1].AppendDelta(nil, 1<<20, noon), tables[2].AppendDelta(nil, 1<<20, noon))
	for i := range 2 {
		a, b := one.figures(i, noon.UnixNano()), tables[0].figures(i, noon.UnixNano())
		if a != b {
			t.Errorf("offer %d:\n%+v of one instance,\n%+v of three", i, a, b)
		}
	}
}

// A new instance starts from what the others know, by way of one of them.
func TestNewInstance(t *testing.T) {
	old := newLab(t, 2, 3)
	far := New(old.cat, old.cat.Routing.Health, 7)
	for range 20 {
		old.apply(ok(0, 300*ms)).apply(Event{Offer: 5, Outcome: OK, TTFT: 4 * sec, Duration: 4 * sec, Tokens: 200})
		ev := ok(1, 800*ms)
		far.Apply(&ev, old.now)
	}
	old.apply(Event{Offer: 2, Outcome: Status, Status: 429, RetryAfter: mnt})
	mustMerge(t, old.Table, old.now, far.AppendDelta(nil, 1<<20, old.now))

	fresh := &lab{Table: New(old.cat, old.cat.Routing.Health, 3), now: old.now, seen: make([]Figures, 6)}
	for next, m := 0, []byte(nil); next >= 0; {
		m, next = old.AppendState(nil, next, 1, old.now) // as small as can be
		mustMerge(t, fresh.Table, old.now, m)
	}
	for i := range 6 {
		if a, b := old.of(i), fresh.of(i); a != b {
			t.Errorf("offer %d:\n%+v there,\n%+v here", i, a, b)
		}
	}
	equal(t, "cooldown", fresh.left(2), mnt)
	near(t, "ttft", fresh.of(1).TTFT.Seconds(), 0.8, MaxError)
}

// What an instance found out about the way to a provider is its own affair.
func TestUnreachableIsNotShared(t *testing.T) {
	l := newLab(t, 1, 2)
	l.apply(ok(1, 300*ms)).apply(ok(1, 300*ms))
	l.lasting(5, at(unreachable[0], 0)).lasting(5, status(1, 500))
	equal(t, "phase", l.phase(0), Cooling)
	other := New(l.cat, l.cat.Routing.Health, 2)
	m, _ := l.AppendState(nil, 0, 1<<20, l.now)
	mustMerge(t, other, l.now, m)
	equal(t, "not reached", other.Stats(0, l.now).Phase, Usable)
	equal(t, "500s", other.Stats(1, l.now).Phase, Cooling)
}

// Deltas are bounded, and between them say everything.
func TestDeltaLimit(t *testing.T) {
	l := newLab(t, 10, 10)
	for i := range 100 {
		l.times(12, ok(i, time.Duration(i+1)*10*ms))
	}
	other := &lab{Table: New(l.cat, l.cat.Routing.Health, 2), now: l.now, seen: make([]Figures, 100)}
	n := 0
	for m := l.AppendDelta(nil, 500, l.now); m != nil; m = l.AppendDelta(nil, 500, l.now) {
		if n++; len(m) > 1000 {
			t.Errorf("%d bytes", len(m))
		}
		mustMerge(t, other.Table, l.now, m)
	}
	for i := range 100 {
		equal(t, "figures", other.of(i), l.of(i))
	}
	t.Logf("%d messages", n)
}

// The newer of two records counts, whichever came first, and whatever is in them. None
// is part of the message that brought it.
func TestNewerCounts(t *testing.T) {
	cat := market(t, 1, 1)
	var messages [2][]byte
	for i, first := range []time.Duration{900 * ms, 100 * ms} {
		from := New(cat, cat.Routing.Health, 2)
		from.offers[0].version = uint64(i) * 100
		for range 20 {
			ev := ok(0, first)
			from.Apply(&ev, noon)
		}
		messages[i] = from.AppendDelta(nil, 1<<20, noon)
	}
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		here := New(cat, cat.Routing.Health, 1)
		for _, i := range order {
			m := bytes.Clone(messages[i])
			mustMerge(t, here, noon, m)
			clear(m)
		}
		near(t, "ttft", here.figures(0, noon.UnixNano()).TTFT.Seconds(), 0.1, MaxError)
	}
}

// What is out of date is not merged, and does not stay.
func TestRecordsAreForgotten(t *testing.T) {
	l := newLab(t, 1, 1)
	l.times(20, ok(0, 300*ms))
	m, _ := l.AppendState(nil, 0, 1<<20, l.now)
	other := &lab{Table: New(l.cat, l.cat.Routing.Health, 2), now: l.now, seen: make([]Figures, 1)}
	mustMerge(t, other.Table, l.now, m)
	equal(t, "records", len(other.offers[0].remote), 1)
	equal(t, "ttft a day later", other.after(25*time.Hour).of(0).TTFT, 0)
	equal(t, "records a day later", len(other.offers[0].remote), 0)
	mustMerge(t, other.Table, other.now, m)
	equal(t, "records when merged late", len(other.offers[0].remote), 0)
}

func TestMostInstances(t *testing.T) {
	cat := market(t, 1, 1)
	here := New(cat, cat.Routing.Health, 1)
	for i := range 2 * maxInstances {
		other := New(cat, cat.Routing.Health, uint64(i)+100)
		ev := ok(0, 300*ms)
		other.Apply(&ev, noon)
		mustMerge(t, here, noon, other.AppendDelta(nil, 1<<20, noon))
	}
	equal(t, "records", len(here.offers[0].remote), maxInstances)
}

func TestMergeRefuses(t *testing.T) {
	l := newLab(t, 1, 2)
	l.times(20, ok(0, 300*ms)).times(20, ok(1, 300*ms))
	m, _ := l.AppendState(nil, 0, 1<<20, l.now)
	other := New(l.cat, l.cat.Routing.Health, 2)
	for n := range m {
		if err := other.Merge(m[:n], l.now); err != nil && !errors.Is(err, ErrMessage) {
			t.Fatalf("%d of %d bytes: %v", n, len(m), err)
		}
	}
	if err := other.Merge(m[:len(m)-1], l.now); !errors.Is(err, ErrMessage) {
		t.Errorf("a message without its last byte: %v", err)
	}
	narrow := l.cat.Routing.Health
	narrow.Window = time.Minute
	if err := New(l.cat, narrow, 3).Merge(m, l.now); !errors.Is(err, ErrWindow) {
		t.Errorf("another window: %v", err)
	}
	if err := l.Merge(m, l.now); err != nil || len(l.offers[0].remote) != 0 {
		t.Errorf("one's own message: %v, %d records", err, len(l.offers[0].remote))
	}
}

// Whatever comes in, a table works on.
//
//	go test ./policy/health -run '^$' -fuzz FuzzMerge -fuzztime 30s
func FuzzMerge(f *testing.F) {
	cat := market(f, 1, 1)
	l := &lab{Table: New(cat, cat.Routing.Health, 2), now: noon}
	l.times(12, ok(0, 300*ms)).apply(Event{Outcome: OK, TTFT: sec, Duration: sec, Tokens: 100}).apply(Event{Outcome: Status, Status: 429, RetryAfter: sec})
	m, _ := l.AppendState(nil, 0, 1<<20, l.now)
	f.Add(m)
	record := l.offers[0].appendRecord(nil)
	head := m[:len(m)-len(record)]
	f.Add(append(bytes.Clone(head), bytes.Repeat([]byte{1}, len(record))...))
	f.Fuzz(func(t *testing.T, m []byte) {
		here := New(cat, cat.Routing.Health, 1)
		if here.Merge(m, noon) != nil {
			return
		}
		for _, later := range []time.Duration{0, time.Minute, time.Hour, 100 * time.Hour} {
			if fig := here.figures(0, noon.Add(later).UnixNano()); fig.TTFT < 0 || fig.CoolingTill.After(noon.Add(5*mnt)) {
				t.Errorf("%+v", fig)
			}
			here.Changes(noon.Add(later))
		}
		again, _ := here.AppendState(nil, 0, 1<<20, noon)
		if err := New(cat, cat.Routing.Health, 3).Merge(again, noon); err != nil {
			t.Error(err)
		}
	})
}

// TestReload: state follows provider and upstream model.
func TestReload(t *testing.T) {
	parse := func(models string) *catalog.Catalog {
		c, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Dir: "/etc/shunt", Data: []byte(
			"providers:\n" + "  a: {endpoint: \"http://127.0.0.1:1\"}\n  b: {endpoint: \"http://127.0.0.1:1\"}\n  c: {endpoint: \"http://127.0.0.1:1\"}\nmodels:\n" + models)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := parse("  x: {offers: [{provider: a, model: ux}, {provider: b, model: ux}]}\n  y: {offers: [{provider: a, model: uy}]}\n")
	l := &lab{Table: New(old, old.Routing.Health, 1), now: noon, seen: make([]Figures, 8)}
	l.times(20, ok(0, 300*ms)).times(20, ok(1, 500*ms)).times(20, ok(2, 700*ms))
	l.apply(Event{Offer: 1, Outcome: Status, Status: 429, RetryAfter: mnt}).apply(Event{Outcome: Started})
	l.of(0)

	// y is renamed, and twice there; x has a new offer before the others, and loses b.
	cat := parse("  z: {offers: [{provider: c, model: uy}, {provider: a, model: uy}]}\n  y2: {offers: [{provider: a, model: uy}]}\n" +
		"  x: {offers: [{provider: c, model: ux}, {provider: a, model: ux}]}\n  w: {offers: [{provider: b, model: ux}]}\n")
	l.Table, l.seen = l.Reload(cat, cat.Routing.Health), make([]Figures, 8)
	l.of(0)
	for i, want := range []time.Duration{0, 700 * ms, 700 * ms, 0, 300 * ms, 500 * ms} {
		near(t, fmt.Sprintf("ttft of %d", i), l.of(i).TTFT.Seconds(), want.Seconds(), MaxError)
	}
	equal(t, "cooldown", l.left(5), mnt)
	equal(t, "in flight", l.Stats(4, l.now).InFlight, 1)
	l.times(200, ok(1, 90*ms)).apply(ok(2, 700*ms)) // mostly of one twin
	near(t, "ttft of the other", l.of(2).TTFT.Seconds(), 0.7, MaxError)

	// Another window: the last samples are left.
	narrow := cat.Routing.Health
	narrow.Window = 30 * time.Second
	l.Table, l.seen = l.Reload(cat, narrow), make([]Figures, 8)
	near(t, "ttft", l.of(4).TTFT.Seconds(), 0.3, MaxError)
	equal(t, "stale", l.of(4).Stale, true)
	equal(t, "cooldown", l.left(5), mnt)
}
