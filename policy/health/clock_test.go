package health

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A clock that is wrong by a minute, or two, changes nothing of what others learn: not
// the figures, not how long a cooldown is. It may be the one of an instance that only
// sends it on.
func TestWrongClocks(t *testing.T) {
	const text = "routing: {health: {min_samples: 5}}\n"
	for _, skew := range []time.Duration{0, 3 * sec, -3 * sec, mnt, -mnt, 2 * mnt, -2 * mnt} {
		right := newLab(t, 1, 2, text)
		wrong := &lab{Table: New(right.cat, right.cat.Routing.Health, 2), now: right.now.Add(skew)}
		relay := &lab{Table: New(right.cat, right.cat.Routing.Health, 3), now: right.now.Add(skew / 2)}
		for range 4 {
			for _, l := range []*lab{right, wrong} {
				l.times(10, ok(0, 300*ms))
			}
			for _, l := range []*lab{right, wrong, relay} {
				l.after(mnt)
			}
		}
		for _, l := range []*lab{right, wrong} {
			l.times(30, ok(0, 900*ms)).apply(Event{Offer: 1, Outcome: Status, Status: 429, RetryAfter: 30 * sec})
		}
		want, cooldown := right.of(0), right.left(1)
		for name, message := range map[string]func() []byte{
			"itself": func() []byte { return wrong.AppendDelta(nil, 1<<20, wrong.now) },
			"another": func() []byte {
				m, _ := wrong.AppendState(nil, 0, 1<<20, wrong.now)
				mustMerge(t, relay.Table, relay.now, m)
				m, _ = relay.AppendState(nil, 0, 1<<20, relay.now)
				return m
			},
		} {
			here := &lab{Table: New(right.cat, right.cat.Routing.Health, 4), now: right.now, seen: make([]Figures, 2)}
			mustMerge(t, here.Table, here.now, message())
			what := skew.String() + ", told by " + name + ": "
			equal(t, what+"TTFT", here.of(0).TTFT, want.TTFT)
			equal(t, what+"stale", here.of(0).Stale, false)
			if got := here.left(1); got < cooldown-3*sec || got > cooldown+3*sec {
				t.Errorf("%scools for %v, want %v", what, got, cooldown)
			}
		}
	}
}

// A message that is very late says what it said: its times are right, and past.
func TestLateMessages(t *testing.T) {
	l := newLab(t, 1, 1)
	l.times(20, ok(0, 300*ms)).apply(Event{Outcome: Status, Status: 429, RetryAfter: 30 * sec})
	m := l.AppendDelta(nil, 1<<20, l.now)
	for _, late := range []time.Duration{4 * sec, 3 * mnt, time.Hour} {
		here := &lab{Table: New(l.cat, l.cat.Routing.Health, 2), now: l.now.Add(late), seen: make([]Figures, 1)}
		mustMerge(t, here.Table, here.now, m)
		equal(t, late.String()+" late: the cooldown's rest", here.left(0), max(30*sec-late, 0))
		near(t, late.String()+" late: ttft", here.of(0).TTFT.Seconds(), 0.3, MaxError)
	}
}

// A record that is shifted is one, and shifted back what it was.
func TestShifted(t *testing.T) {
	cat := market(t, 1, 3)
	rapid.Check(t, func(t *rapid.T) {
		l := &lab{Table: New(cat, cat.Routing.Health, 1), now: noon}
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			ev := drawEvent(t, 3)
			l.after(time.Duration(rapid.IntRange(0, 90).Draw(t, "pause")) * sec).apply(ev)
		}
		skew := int64(rapid.IntRange(-120, 120).Draw(t, "seconds")) * int64(time.Second)
		for i := range l.offers {
			record := l.offers[i].appendRecord(nil)
			there := shifted(record, skew, l.cfg.slot)
			if _, ok := visit(there, visitor{}); !ok {
				t.Fatalf("offer %d by %d s: not a record: %x of %x", i, skew/1e9, there, record)
			}
			if back := shifted(there, -skew, l.cfg.slot); string(back) != string(record) {
				t.Fatalf("offer %d by %d s and back: %x, was %x", i, skew/1e9, back, record)
			}
		}
	})
}
