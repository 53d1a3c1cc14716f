package health

import (
	"time"

	"github.com/shunt-gateway/shunt/catalog"
)

// offer is the state of one offer. Times are nanoseconds since 1970.
type offer struct {
	windows [2]*window // of streamed answers, and of whole ones; nil before the first
	remote  []remote   // what other instances measured
	totals  [Classes]uint64

	version    uint64 // of what other instances are told: it only grows
	coolTill   int64  // only ever grows (FALL-3)
	sharedTill int64  // as far as the provider itself said so: other instances heed it too

	probeFrom   int64 // attempts that start from here on prove the offer …
	probingTill int64 // … until this, or until enough of them succeeded
	proved      int32 // successes among them
	probes      int32 // those in flight
	strikes     uint8 // cooldowns after failures, each within a window of the last
	limits      uint8 // cooldowns after 429s that named no time, in a row

	failed, refused, limited streak
	rate                     failureRate

	inFlight int32 // attempts that started and did not end

	model, provider int32
	reach           party
	dirty, unsent   bool // in Table.dirty, in Table.unsent
}

// blip is how long trouble lasts at least before it counts: what breaks many requests
// at one moment (a restart, a load balancer) is over when they are tried again.
const blip = int64(2 * time.Second)

// streak is ends of one sort without a success between them.
type streak struct {
	n     int32
	from  int64 // when the first of them was reported
	began int64 // when its attempt began
}

func (s *streak) add(started, now int64) {
	if s.n == 0 {
		s.from, s.began = now, started
	}
	s.n++
}

// lately: streams go on for minutes where new requests have long been failing, so a
// success is one of the time when its attempt began. But failures are heard of sooner
// than successes: those that began a little earlier count too.
const lately = int64(10 * time.Second)

// old: a success of an attempt that began at started is one from before the streak.
func (s *streak) old(started int64) bool { return s.n > 0 && started < s.began-lately }

func (s *streak) end(started int64) {
	if !s.old(started) {
		*s = streak{}
	}
}

func (s *streak) lasts(cfg *config, now int64) bool {
	return s.n >= int32(cfg.ConsecutiveFailures) && now-s.from >= blip
}

// failureRate is the share of failures among about the last min_requests requests: a
// mean as long as there are fewer, then a moving one. Requests from before a window
// without any do not count.
type failureRate struct {
	n     int32
	share float64
	at    int64 // the last request
	over  int64 // since when the share is too high; 0: it is not
}

func (r *failureRate) add(failed float64, cfg *config, now int64) {
	if now-r.at > int64(cfg.Window) {
		*r = failureRate{}
	}
	r.n, r.at = min(r.n+1, int32(cfg.MinRequests)), now
	r.share += (failed - r.share) / float64(r.n)
	switch {
	case r.n < int32(cfg.MinRequests) || r.share < cfg.ErrorRate:
		r.over = 0
	case r.over == 0:
		r.over = now
	}
}

func (r *failureRate) lasts(now int64) bool { return r.over > 0 && now-r.over >= blip }

func (o *offer) start(started int64) {
	o.inFlight++
	if o.probe(started) {
		o.probes++
	}
}

func (o *offer) end(started int64) {
	o.inFlight = max(o.inFlight-1, 0)
	if o.probe(started) {
		o.probes = max(o.probes-1, 0)
	}
}

// probe: an attempt that began at started proves the offer, or not.
func (o *offer) probe(started int64) bool { return o.probeFrom <= started && started < o.probingTill }

// probing: the last cooldown is over, and nothing says yet that its cause is too.
func (o *offer) probing(now int64) bool { return o.coolTill <= now && now < o.probingTill }

// reduce is what an ended attempt of class c does to its offer. cut says that our own
// network is suspected, not the provider.
func (o *offer) reduce(ev *Event, c Class, cfg *config, started, now int64, cut own) {
	o.totals[c]++
	switch {
	case c == Succeeded:
		if !o.failed.old(started) {
			o.rate.add(0, cfg, now)
		}
		if !o.limited.old(started) {
			o.limits = 0
		}
		for _, s := range [...]*streak{&o.failed, &o.refused, &o.limited} {
			s.end(started)
		}
		o.measure(ev, cfg.epoch(now), now)
		if o.probing(now) && o.probe(started) {
			if o.proved++; o.proved >= int32(cfg.ProbeSuccesses) {
				o.probingTill = now
			}
		}
	case c == Limited:
		o.limit(ev, cfg, started, now)
	case c == Refused, c == NotFound:
		o.refused.add(started, now)
		if o.heeded(started, now) && (o.probing(now) || o.refused.lasts(cfg, now)) {
			o.relapse(cfg.RefusalCooldown, cfg, now)
			o.share(o.coolTill)
		}
	case c.failure():
		o.failed.add(started, now)
		o.rate.add(1, cfg, now)
		if ev.RetryAfter > 0 && (ev.Status == 503 || ev.Status == 529) { // FALL-3
			o.share(now + int64(min(ev.RetryAfter, cfg.MaxCooldown)))
		}
		if o.heeded(started, now) && cut != suspected && o.failing(cfg, now) {
			o.relapse(cfg.Cooldown, cfg, now)
			if c == Server {
				o.share(o.coolTill)
			}
		}
	}
}

// heeded: an attempt that began before the last cooldown, or ended in it, says
// nothing that did not lead to it.
func (o *offer) heeded(started, now int64) bool { return o.coolTill <= now && started >= o.probeFrom }

// failing: the one failure of a probe is enough; else it takes several, and a while.
func (o *offer) failing(cfg *config, now int64) bool {
	return o.probing(now) || o.failed.lasts(cfg, now) || o.rate.lasts(now)
}

// relapse cools the offer down: longer each time, unless it has been well for a
// window. Then it has to prove itself.
func (o *offer) relapse(first time.Duration, cfg *config, now int64) {
	if now > o.probingTill+int64(cfg.Window) {
		o.strikes = 0
	}
	o.extend(now + int64(doubled(first, o.strikes, cfg.MaxCooldown)))
	o.strikes = min(o.strikes+1, mostStrikes)
	o.probeFrom, o.probingTill, o.proved, o.probes = o.coolTill, o.coolTill+int64(cfg.Window), 0, 0
	o.failed, o.refused, o.rate = streak{}, streak{}, failureRate{}
}

const mostStrikes = 32

func doubled(d time.Duration, times uint8, limit time.Duration) time.Duration {
	for ; times > 0 && d < limit; times-- {
		d *= 2
	}
	return min(d, limit)
}

// limit is FALL-3 for 429: the time that the provider named, at once; or one of ours,
// which doubles, when it goes on. Nothing has to be proved afterwards: the provider
// works, it has had enough.
func (o *offer) limit(ev *Event, cfg *config, started, now int64) {
	if ev.RetryAfter > 0 {
		o.share(now + int64(min(ev.RetryAfter, cfg.MaxCooldown)))
		return
	}
	o.limited.add(started, now)
	if now < o.coolTill || !o.limited.lasts(cfg, now) {
		return
	}
	o.share(now + int64(doubled(cfg.Cooldown, o.limits, cfg.MaxCooldown)))
	o.limits = min(o.limits+1, mostStrikes)
}

// extend is FALL-3: a deadline is extended, never shortened.
func (o *offer) extend(till int64) { o.coolTill = max(o.coolTill, till) }

// share extends the deadline for all instances.
func (o *offer) share(till int64) {
	o.extend(till)
	if till > o.sharedTill {
		o.sharedTill = till
		o.version++
	}
}

// A throughput needs some tokens, and some time for them to come in.
const (
	fewTokens = 16
	shortSpan = 20 * time.Millisecond
)

// The kinds of answer: which window of an offer is meant.
const (
	streamed = iota
	whole
)

// measure takes the samples of an answer. Throughput is completion tokens by the
// time between first and last byte; where all came at once, which is how an answer
// comes that is not streamed, by the time since the request.
func (o *offer) measure(ev *Event, epoch uint32, now int64) {
	first := ev.TTFT
	kind := streamed
	if !ev.Stream {
		kind = whole
		if first <= 0 {
			first = ev.Duration
		}
	}
	if first <= 0 {
		return
	}
	span := ev.Duration - ev.TTFT
	if kind == whole || span < shortSpan {
		span = ev.Duration
	}
	r := -1.0
	if ev.Tokens >= fewTokens && span > 0 {
		r = float64(ev.Tokens) / span.Seconds()
	}
	if o.windows[kind] == nil {
		o.windows[kind] = new(window)
	}
	o.windows[kind].sample(first.Seconds(), r, epoch, now)
	o.version++
}

// config is catalog.Health with what follows from it.
type config struct {
	catalog.Health
	slot int64 // length of a slot in ns
}

func newConfig(h catalog.Health) config {
	return config{h, max(int64(h.Window)/slots, int64(time.Millisecond))}
}

func (c *config) epoch(now int64) uint32 { return uint32(now / c.slot) }
