package health

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	sec = time.Second
	mnt = time.Minute
)

// FALL-3: the time that the provider asked for, bounded.
func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		ev   Event
		want time.Duration
	}{
		{Event{Outcome: Status, Status: 429, RetryAfter: 7 * sec}, 7 * sec},
		{Event{Outcome: Status, Status: 429, RetryAfter: 1500 * ms}, 1500 * ms},
		{Event{Outcome: Status, Status: 503, RetryAfter: 7 * sec}, 7 * sec},
		{Event{Outcome: Status, Status: 529, RetryAfter: 7 * sec}, 7 * sec},
		{Event{Outcome: Status, Status: 429, RetryAfter: time.Hour}, 5 * mnt},
		{Event{Outcome: Status, Status: 503, RetryAfter: 24 * time.Hour}, 5 * mnt},
		{Event{Outcome: Status, Status: 429}, 0},
		{Event{Outcome: Status, Status: 503}, 0},
		{Event{Outcome: Status, Status: 500, RetryAfter: 7 * sec}, 0},
		{Event{Outcome: Status, Status: 400, RetryAfter: 7 * sec}, 0},
	} {
		l := newLab(t, 1, 2)
		if got := l.apply(c.ev).left(0); got != c.want {
			t.Errorf("%d, retry-after %v: cools for %v, want %v", c.ev.Status, c.ev.RetryAfter, got, c.want)
		}
		equal(t, "the other offer", l.left(1), 0)
		if c.want > 0 {
			equal(t, "phase", l.phase(0), Cooling)
			equal(t, "phase afterwards", l.after(c.want).phase(0), Usable)
		}
	}
}

// FALL-3: a deadline is extended, never shortened.
func TestDeadlineIsExtended(t *testing.T) {
	l := newLab(t, 1, 1)
	asked := func(d time.Duration) { l.apply(Event{Outcome: Status, Status: 429, RetryAfter: d}) }
	asked(60 * sec)
	asked(5 * sec)
	equal(t, "after a shorter one", l.left(0), 60*sec)
	l.times(30, ok(0, 300*ms))
	equal(t, "after successes", l.left(0), 60*sec)
	asked(90 * sec)
	equal(t, "after a longer one", l.left(0), 90*sec)
}

// 429s in a row that name no time double it; those of one burst count once.
func TestLimitedWithoutTime(t *testing.T) {
	l := newLab(t, 1, 1)
	l.apply(status(0, 429)).after(2 * sec)
	for _, want := range []time.Duration{10 * sec, 20 * sec, 40 * sec, 80 * sec, 160 * sec, 5 * mnt, 5 * mnt} {
		equal(t, "cooldown", l.times(20, status(0, 429)).left(0), want)
		l.after(want)
	}
	l.apply(ok(0, 300*ms))
	equal(t, "after a success", l.lasting(4, status(0, 429)).left(0), 0)
	equal(t, "after a success and five", l.apply(status(0, 429)).left(0), 10*sec)
}

func TestRefused(t *testing.T) {
	for _, code := range []int{401, 402, 403, 404} {
		l := newLab(t, 1, 2)
		equal(t, "one", l.apply(status(0, code)).left(0), 0)
		equal(t, "five", l.lasting(4, status(0, code)).left(0), mnt)
		equal(t, "phase", l.after(mnt).phase(0), Probing)
		equal(t, "second", l.apply(status(0, code)).left(0), 2*mnt)
		l.after(2*mnt).times(3, ok(0, 300*ms))
		equal(t, "phase when proved", l.phase(0), Usable)
	}
}

// What the client did wrong, and clients that leave, say nothing of an offer.
func TestClientsFaults(t *testing.T) {
	l := newLab(t, 1, 1)
	for _, code := range []int{400, 405, 409, 413, 415, 422, 451, 200, 302} {
		l.times(100, status(0, code))
	}
	l.times(100, Event{Outcome: Unknown, Status: 200, TTFT: sec, Duration: 2 * sec})
	s := l.Stats(0, l.now)
	equal(t, "phase", s.Phase, Usable)
	equal(t, "failures in a row", s.Consecutive, 0)
	equal(t, "samples", s.Samples, 0)
	l.times(19, ok(0, 300*ms)) // with one failure below: 5 %, not 100 %
	equal(t, "phase", l.times(4, status(0, 500)).phase(0), Usable)
}

var failures = map[string]Event{
	"500":     {Outcome: Status, Status: 500},
	"503":     {Outcome: Status, Status: 503},
	"408":     {Outcome: Status, Status: 408},
	"timeout": {Outcome: Timeout},
	"stalled": {Outcome: Timeout, Status: 200, TTFT: sec},
	"reset":   {Outcome: Reset},
	"cut":     {Outcome: Reset, Status: 200, TTFT: sec},
	"refused": {Outcome: ConnectFailure},
}

func TestConsecutiveFailures(t *testing.T) {
	for name, ev := range failures {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 1, 2)
			l.times(4, ev).apply(ok(0, 300*ms))
			equal(t, "after a success between", l.lasting(4, ev).left(0), 0)
			equal(t, "after five", l.apply(ev).left(0), 10*sec)
			equal(t, "the other offer", l.left(1), 0)
		})
	}
}

// mixed is one failure in so many requests, ten requests a second, for so long or until
// the offer cools down.
func (l *lab) mixed(failures, requests int, d time.Duration) *lab {
	for i := range int(d / (100 * ms)) {
		if l.after(100*ms).phase(0) == Cooling {
			break
		}
		if i*failures%requests < failures {
			l.apply(status(0, 500))
		} else {
			l.apply(ok(0, 300*ms))
		}
	}
	return l
}

func TestErrorRate(t *testing.T) {
	l := newLab(t, 1, 1)
	began := l.mixed(0, 1, 5*mnt).now
	l.mixed(2, 3, mnt)
	equal(t, "two thirds", l.phase(0), Cooling)
	if took := l.now.Sub(began); took < 2*sec || took > 6*sec {
		t.Errorf("two thirds were found out after %v, want 20 requests and 2 s", took)
	}
	equal(t, "two thirds of few", newLab(t, 1, 1).mixed(2, 3, 1900*ms).phase(0), Usable)
	equal(t, "a third", newLab(t, 1, 1).mixed(1, 3, 10*mnt).phase(0), Usable)
}

// Many that fail at one moment, among others that do not, are a blip.
func TestErrorRateOfABurst(t *testing.T) {
	l := newLab(t, 1, 1).mixed(1, 10, mnt)
	l.times(50, status(0, 500)).times(50, ok(0, 300*ms))
	equal(t, "phase", l.mixed(1, 10, mnt).phase(0), Usable)
}

// What led to a cooldown does not lead to the next one.
func TestErrorRateBeginsAnew(t *testing.T) {
	l := newLab(t, 1, 1)
	l.mixed(2, 3, mnt)
	equal(t, "phase", l.phase(0), Cooling)
	l.after(10*sec).times(3, ok(0, 300*ms)).apply(status(0, 500))
	equal(t, "phase after one failure more", l.phase(0), Usable)
}

// An offer that said when to come back is not punished for saying it again.
func TestRetryAfterInARow(t *testing.T) {
	l := newLab(t, 1, 1)
	l.times(50, Event{Outcome: Status, Status: 503, RetryAfter: 2 * sec})
	equal(t, "cooldown", l.left(0), 2*sec)
	equal(t, "strikes", l.Stats(0, l.now).Strikes, 0)
}

// Failures from before a window without requests do not count.
func TestErrorRateForgets(t *testing.T) {
	l := newLab(t, 1, 1)
	for range 19 {
		l.apply(status(0, 500)).apply(ok(0, 300*ms)).after(sec / 10)
	}
	equal(t, "phase", l.after(5*mnt+sec).mixed(2, 3, 1900*ms).phase(0), Usable)
}

// After its cooldown an offer gets few requests, until some succeed.
func TestProbing(t *testing.T) {
	l := newLab(t, 1, 1)
	l.lasting(5, status(0, 500)).after(10 * sec)
	f := l.of(0)
	equal(t, "phase", l.phase(0), Probing)
	equal(t, "share", f.Probe, float32(0.1))
	equal(t, "till", f.ProbingTill.Sub(l.now), 5*mnt)

	start := Event{Outcome: Started}
	equal(t, "share with as many in flight as it takes", l.times(3, start).of(0).Probe, 0)
	l.apply(ok(0, 300*ms))
	equal(t, "share after one", l.of(0).Probe, 0) // 2 in flight, 2 to go
	l.times(2, ok(0, 300*ms))
	equal(t, "phase when proved", l.phase(0), Usable)
	if f := l.of(0); f.ProbingTill.After(l.now) {
		t.Errorf("probing till %v", f.ProbingTill)
	}
}

func TestProbingEndsByItself(t *testing.T) {
	l := newLab(t, 1, 1)
	l.lasting(5, status(0, 500)).after(10*sec + 5*mnt)
	equal(t, "phase", l.phase(0), Usable)
}

// A probe that fails doubles the cooldown; a window without trouble makes it short
// again.
func TestRelapse(t *testing.T) {
	l := newLab(t, 1, 1)
	want := 10 * sec
	l.lasting(5, status(0, 500))
	for range 7 {
		equal(t, "cooldown", l.left(0), want)
		l.after(want).apply(status(0, 500))
		want = min(2*want, 5*mnt)
	}
	l.after(want).times(3, ok(0, 300*ms))
	equal(t, "phase when proved", l.phase(0), Usable)
	equal(t, "soon after", l.lasting(5, status(0, 500)).left(0), 5*mnt)
	l.after(5*mnt).times(3, ok(0, 300*ms)).after(5*mnt + sec)
	equal(t, "long after", l.lasting(5, status(0, 500)).left(0), 10*sec)
}

// Attempts that began before the cooldown was over end late, and prove nothing:
// neither that the offer is still down, nor that it is well.
func TestLateEnds(t *testing.T) {
	l := newLab(t, 1, 1)
	began := l.now
	l.lasting(5, status(0, 500)).after(12 * sec)
	hung := Event{Outcome: Timeout, Started: began}
	equal(t, "after late failures", l.times(20, hung).left(0), 0)
	answer := ok(0, 300*ms)
	answer.Started = began
	equal(t, "phase after late answers", l.times(20, answer).phase(0), Probing)
	equal(t, "strikes", l.Stats(0, l.now).Strikes, 1)
}

// Streams that began before the trouble, and end well in it, do not end it.
func TestOldStreams(t *testing.T) {
	l := newLab(t, 1, 1)
	old := ok(0, 300*ms)
	old.Started = l.now.Add(-mnt)
	for range 5 {
		l.after(sec).apply(Event{Outcome: ConnectFailure}).times(10, old)
	}
	equal(t, "phase", l.phase(0), Cooling)
}

// What many requests find out at the same time is one cooldown; and none, if that
// is all.
func TestBurst(t *testing.T) {
	l := newLab(t, 1, 1)
	l.times(500, status(0, 500)).times(500, status(0, 401)).times(500, status(0, 429))
	equal(t, "phase", l.phase(0), Usable)
	l.after(2*sec).times(500, status(0, 500))
	equal(t, "cooldown", l.left(0), 10*sec)
	equal(t, "strikes", l.Stats(0, l.now).Strikes, 1)
}

func TestInFlight(t *testing.T) {
	l := newLab(t, 1, 2)
	start := Event{Outcome: Started}
	l.times(5, start).apply(ok(0, 300*ms)).apply(Event{Outcome: Unknown})
	equal(t, "in flight", l.Stats(0, l.now).InFlight, 3)
	began := l.now
	l.after(5 * time.Hour).apply(Event{Outcome: Timeout, Started: began})
	equal(t, "an old one ended", l.Stats(0, l.now).InFlight, 2)
	equal(t, "of the other", l.Stats(1, l.now).InFlight, 0)
	l.times(3, ok(0, 300*ms))
	equal(t, "ends without starts", l.Stats(0, l.now).InFlight, 0)
}

func TestEnds(t *testing.T) {
	l := newLab(t, 1, 1)
	l.times(3, ok(0, sec)).apply(status(0, 400)).apply(status(0, 429)).apply(status(0, 402)).apply(status(0, 404))
	l.apply(status(0, 500)).apply(Event{Outcome: Timeout}).apply(Event{Outcome: Reset}).apply(Event{Outcome: ConnectFailure})
	equal(t, "ends", l.Stats(0, l.now).Ends, [Classes]uint64{3, 1, 1, 1, 1, 1, 1, 1, 1})
	equal(t, "names", OutcomeOf("connect_failure"), ConnectFailure)
	equal(t, "unknown name", OutcomeOf(""), Unknown)
}

func drawEvent(t *rapid.T, offers int) Event {
	return Event{
		Offer:      rapid.IntRange(0, offers-1).Draw(t, "offer"),
		Outcome:    rapid.SampledFrom([]Outcome{Unknown, Started, OK, OK, Status, Status, Status, Timeout, Reset, ConnectFailure}).Draw(t, "outcome"),
		Status:     rapid.SampledFrom([]int{0, 200, 400, 401, 404, 408, 429, 429, 500, 503}).Draw(t, "status"),
		RetryAfter: rapid.SampledFrom([]time.Duration{0, 0, sec, 30 * sec, time.Hour}).Draw(t, "retry-after"),
		TTFT:       time.Duration(rapid.IntRange(0, 5000).Draw(t, "ttft")) * ms,
		Duration:   time.Duration(rapid.IntRange(0, 20_000).Draw(t, "duration")) * ms,
		Tokens:     rapid.Int64Range(0, 2000).Draw(t, "tokens"),
		Stream:     rapid.Bool().Draw(t, "stream"),
	}
}

// FALL-3 over any events, merges and reloads: deadlines only move forward, and none
// is further away than max_cooldown.
func TestDeadlinesOnlyExtend(t *testing.T) {
	const offers = 6
	cat := market(t, 2, 3)
	rapid.Check(t, func(t *rapid.T) {
		now := noon
		tables := []*Table{New(cat, cat.Routing.Health, 1), New(cat, cat.Routing.Health, 2)}
		var till [2][offers]time.Time
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 1, 700, 11_000, 70_000}).Draw(t, "pause")) * ms)
			k := rapid.IntRange(0, 1).Draw(t, "table")
			switch rapid.IntRange(0, 20).Draw(t, "step") {
			case 0:
				if m := tables[1-k].AppendDelta(nil, 1<<20, now); m != nil {
					if err := tables[k].Merge(m, now); err != nil {
						t.Fatal(err)
					}
				}
			case 1:
				m, _ := tables[1-k].AppendState(nil, 0, 1<<20, now)
				if err := tables[k].Merge(m, now); err != nil {
					t.Fatal(err)
				}
			case 2:
				tables[k] = tables[k].Reload(cat, cat.Routing.Health)
			default:
				ev := drawEvent(t, offers)
				tables[k].Apply(&ev, now)
			}
			for _, c := range tables[k].Changes(now) {
				if c.Figures.CoolingTill.Before(till[k][c.Offer]) {
					t.Fatalf("a deadline was shortened from %v to %v", till[k][c.Offer], c.Figures.CoolingTill)
				}
				if c.Figures.CoolingTill.After(now.Add(5 * mnt)) {
					t.Fatalf("cools for %v", c.Figures.CoolingTill.Sub(now))
				}
				till[k][c.Offer] = c.Figures.CoolingTill
			}
		}
	})
}
