package extproc

import (
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/policy"
)

// timeouts are those of a whole chain, since Envoy keeps one of each per request.
type timeouts struct {
	asked     time.Duration // for the first byte, by the client; 0: nothing
	firstByte time.Duration // the longest
	silence   time.Duration // see names.Silence
	all       bool          // every attempt takes the timed way: see names.Direct
	deadline  time.Duration // of the request; 0: none
	// bound is the first attempt that the deadline may cut short, and so every one
	// after it: they take the timed way.
	bound int
}

func timeoutsOf(d *policy.Decision, c *catalog.Catalog, l limits) (t timeouts) {
	t.asked, t.deadline, t.bound = l.firstByte, deadline(l, &c.Routing), len(d.Attempts)
	var idle, waits time.Duration
	for i := range d.Attempts {
		p := d.Attempts[i].Offer.Provider
		own := p.FirstByte(t.asked)
		t.firstByte = max(t.firstByte, own)
		idle = max(idle, p.Timeout.Idle)
		if t.deadline > 0 && waits+own > t.deadline {
			t.bound = min(t.bound, i)
		}
		waits += p.Timeout.Connect + own
	}
	var wait time.Duration
	for _, p := range c.Providers {
		wait = max(wait, p.Timeout.Connect+p.Timeout.FirstByte)
	}
	t.silence = names.Silence(idle, waits, time.Duration(c.Routing.MaxAttempts)*wait)
	f := c.Routing.FallbackOn
	t.all = !names.Direct(f.ConnectFailure, f.Reset, f.Timeout)
	return t
}

// timed reports whether attempt i, at p, takes the timed way.
func (t *timeouts) timed(i int, p *catalog.Provider) bool {
	return t.all || i >= t.bound || p.FirstByte(t.asked) < t.firstByte
}

// wait is what attempt i, at p, is given for its first byte where that is not what the
// timed way knows of p: less, or less as soon as the deadline is near. 0: it is.
func (t *timeouts) wait(i int, p *catalog.Provider) time.Duration {
	own := p.FirstByte(t.asked)
	if !t.timed(i, p) || own == p.Timeout.FirstByte && i < t.bound {
		return 0
	}
	return own
}

// perTry is the timeout of every attempt on the direct way; 0 for none, where all take
// the timed way and have their own there.
func (t *timeouts) perTry() time.Duration {
	if t.all {
		return 0
	}
	return t.firstByte
}

// left is what the deadline leaves to the first attempt.
func (t *timeouts) left() time.Duration {
	if t.deadline == 0 {
		return longestLimit
	}
	return t.deadline
}

// early is how much sooner the timed way gives an attempt up at the deadline than the
// direct way would at the timeout of its own, so that one of them is the first.
const early = 50 * time.Millisecond

// untilDeadline is how long an attempt may wait that begins when left is left of the
// request's time; ends says that the deadline ends it then.
func untilDeadline(wait, left time.Duration) (_ time.Duration, ends bool) {
	if left >= wait {
		return wait, false
	}
	return max(min(left, wait-early), time.Millisecond), true
}
