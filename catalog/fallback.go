package catalog

import (
	"strconv"
	"time"
)

// RetryBudget bounds what a general outage adds to the load: the attempts after the
// first, of requests none of whose providers has answered lately. Nothing else is ever
// counted or denied.
type RetryBudget struct {
	// Share is how many such attempts may be made per request: 0.2 of them add a fifth
	// to the load. Default 0.2; at most 15, which is all that there can be.
	Share     float64
	PerSecond int // and beside them, each second, of one instance. Default 10; 0 to 1,000,000.
}

func defaultRetryBudget() *RetryBudget { return &RetryBudget{Share: 0.2, PerSecond: 10} }

const mostRetries = 1_000_000 // a second

var retryBudgetKeys = newKeys("share", "per_second")

func (d *decoder) retryBudget(v value) {
	b := defaultRetryBudget()
	d.cat.Routing.RetryBudget = b
	d.object(v, retryBudgetKeys, func(key string, v value) {
		switch key {
		case "share":
			set(&b.Share)(d.retryShare(v))
		case "per_second":
			set(&b.PerSecond)(d.wholeOrNone(v, mostRetries))
		}
	})
}

// retryShare may be over 100%: a request may have several attempts after its first.
func (d *decoder) retryShare(v value) (float64, bool) {
	x, ok := d.percent(v)
	if !ok {
		return 0, false
	}
	f := x.InexactFloat64()
	if f > mostAttempts-1 {
		d.fault(v, "is more than %d%%, which no request can use", (mostAttempts-1)*100)
		return 0, false
	}
	return f, true
}

// wholeOrNone returns a whole number from 0 to hi.
func (d *decoder) wholeOrNone(v value, hi int) (int, bool) {
	s, ok := d.plain(v, "a whole number", "!!int", "!!float")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > hi {
		d.fault(v, "%s is not a whole number from 0 to %d", quote(s), hi)
		return 0, false
	}
	return n, true
}

// fallbackLimits checks what the time limits of a request have to do with each other. within
// is the zero value where fallback_within was not given.
func (d *decoder) fallbackLimits(within value) {
	r := &d.cat.Routing
	if r.Deadline > 0 && r.FallbackWithin > r.Deadline {
		d.fault(within, "%v is longer than deadline, %v", r.FallbackWithin, r.Deadline)
	}
}

// FirstByte is how long an attempt at p may take to the first byte of its answer; at
// most what a request asks for, if it asks for anything.
func (p *Provider) FirstByte(asked time.Duration) time.Duration {
	if asked > 0 {
		return min(asked, p.Timeout.FirstByte)
	}
	return p.Timeout.FirstByte
}
