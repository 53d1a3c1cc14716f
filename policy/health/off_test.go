package health

import (
	"testing"
	"time"
)

const (
	notMeasured = "routing: {health: {measured: false}}\n"
	noCooldowns = "routing: {health: {cooldowns: false}}\n"
	off         = "routing: {health: {enabled: false}}\n"
)

// trouble is everything that moves an offer: slow answers, refusals, a rate limit.
func (l *lab) trouble() *lab {
	return l.times(100, ok(0, 5*sec)).lasting(20, status(0, 500)).lasting(20, status(0, 401)).
		apply(Event{Outcome: Status, Status: 429, RetryAfter: mnt})
}

// Switched off, nothing that happens is told to routing; and as soon as it is
// switched on, all of it.
func TestSwitchedOff(t *testing.T) {
	for text, want := range map[string]struct{ measured, cools bool }{
		"": {true, true}, notMeasured: {false, true}, noCooldowns: {true, false}, off: {},
	} {
		l := newLab(t, 1, 2, text).trouble()
		f := l.of(0)
		equal(t, text+"measured", f.TTFT > 0 || f.Throughput > 0 || f.TTFTs[3] > 0 || f.Throughputs[3] > 0, want.measured)
		equal(t, text+"explored", l.of(1).Stale, want.measured)
		equal(t, text+"cools down", f.CoolingTill.After(l.now), want.cools)
		equal(t, text+"probes", !f.ProbingTill.IsZero(), want.cools)
		equal(t, text+"phase", l.phase(0) == Cooling, want.cools)
		if want == (struct{ measured, cools bool }{}) {
			equal(t, text+"figures", f, Figures{})
		}
		all := newLab(t, 1, 2)
		l.Table = l.Reload(all.cat, all.cat.Routing.Health)
		equal(t, text+"cooldown once switched on", l.left(0) >= time.Minute, true)
		near(t, text+"ttft once switched on", l.of(0).TTFT.Seconds(), 5, MaxError)
		l.Table = l.Reload(all.cat, newLab(t, 1, 2, off).cat.Routing.Health)
		equal(t, text+"figures when switched off again", l.of(0), Figures{})
	}
}
