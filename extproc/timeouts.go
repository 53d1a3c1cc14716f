package extproc

import (
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/policy"
)

// timeouts are those of a whole chain, since Envoy keeps one of each per request.
type timeouts struct {
	firstByte time.Duration // the longest
	silence   time.Duration // see names.Silence
	all       bool          // every attempt takes the timed way: see names.Direct
}

func timeoutsOf(d *policy.Decision, c *catalog.Catalog) (t timeouts) {
	var idle, waits time.Duration
	for i := range d.Attempts {
		own := &d.Attempts[i].Offer.Provider.Timeout
		t.firstByte = max(t.firstByte, own.FirstByte)
		idle = max(idle, own.Idle)
		waits += own.Connect + own.FirstByte
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

// timed reports whether an attempt at p takes the timed way.
func (t *timeouts) timed(p *catalog.Provider) bool { return t.all || p.Timeout.FirstByte < t.firstByte }

// perTry is the timeout of every attempt on the direct way; 0 for none, where all take
// the timed way and have their own there.
func (t *timeouts) perTry() time.Duration {
	if t.all {
		return 0
	}
	return t.firstByte
}
