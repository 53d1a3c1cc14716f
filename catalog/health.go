package catalog

import "time"

// Health says how offers are measured and when they cool down.
type Health struct {
	// Measured: measured figures take the place of estimates, and offers are explored.
	// Default true. Cooldowns: offers cool down, also when a provider asked for it with
	// retry-after. Default true.
	Measured, Cooldowns bool

	Window     time.Duration // what figures rest on: samples of this last time. Default 5m; 10s to 24h.
	MinSamples int           // of one offer in the window, below which the configured estimate stands. Default 10; 1 to 1000.
	// Explore is the share of default-routed requests that go first to an offer with
	// too few recent samples, 0 to 0.5; 0: none. Default 0.02.
	Explore float64

	Cooldown        time.Duration // the first one of an offer that fails; doubles with each relapse. Default 10s.
	RefusalCooldown time.Duration // the first one after 401, 402, 403, 404. Default 1m.
	MaxCooldown     time.Duration // no cooldown is longer, whatever a provider asks for. Default 5m; at most 24h.

	ConsecutiveFailures int     // as many in a row cool an offer down. Default 5; 1 to 1000.
	ErrorRate           float64 // a share of failures that does so too, above 0, at most 1. Default 0.5 …
	MinRequests         int     // … among about as many of the last requests. Default 20; 1 to 1,000,000.

	Probe          float64 // share of requests that an offer gets after such a cooldown, above 0, at most 1. Default 0.1 …
	ProbeSuccesses int     // … until as many have succeeded. Default 3; 1 to 100.
}

func defaultHealth() Health {
	return Health{
		Measured: true, Cooldowns: true,
		Window: 5 * time.Minute, MinSamples: 10, Explore: 0.02,
		Cooldown: 10 * time.Second, RefusalCooldown: time.Minute, MaxCooldown: 5 * time.Minute,
		ConsecutiveFailures: 5, ErrorRate: 0.5, MinRequests: 20,
		Probe: 0.1, ProbeSuccesses: 3,
	}
}

const (
	shortestWindow = 10 * time.Second
	mostSamples    = 1000
	mostExplored   = 0.5
	mostFailures   = 1000
	mostRequests   = 1_000_000
	mostSuccesses  = 100
)

var healthKeys = newKeys("enabled", "measured", "cooldowns", "window", "min_samples", "explore", "cooldown", "refusal_cooldown", "max_cooldown",
	"consecutive_failures", "error_rate", "min_requests", "probe", "probe_successes")

func (d *decoder) health(v value) {
	h := &d.cat.Routing.Health
	given := make(map[string]value)
	d.object(v, healthKeys, func(key string, v value) {
		given[key] = v
		switch key {
		case "measured":
			h.Measured = d.boolean(v)
		case "cooldowns":
			h.Cooldowns = d.boolean(v)
		case "window":
			t, ok := d.duration(v, longest)
			if ok && t < shortestWindow {
				d.fault(v, "%v is shorter than %v", t, shortestWindow)
				return
			}
			set(&h.Window)(t, ok)
		case "min_samples":
			set(&h.MinSamples)(d.whole(v, mostSamples))
		case "explore":
			if share, ok := d.share(v); ok && share > mostExplored {
				d.fault(v, "is more than half of the requests")
			} else if ok {
				h.Explore = share
			}
		case "cooldown":
			set(&h.Cooldown)(d.duration(v, longest))
		case "refusal_cooldown":
			set(&h.RefusalCooldown)(d.duration(v, longest))
		case "max_cooldown":
			set(&h.MaxCooldown)(d.duration(v, longest))
		case "consecutive_failures":
			set(&h.ConsecutiveFailures)(d.whole(v, mostFailures))
		case "error_rate":
			set(&h.ErrorRate)(d.positiveShare(v))
		case "min_requests":
			set(&h.MinRequests)(d.whole(v, mostRequests))
		case "probe":
			set(&h.Probe)(d.positiveShare(v))
		case "probe_successes":
			set(&h.ProbeSuccesses)(d.whole(v, mostSuccesses))
		}
	})
	d.cooldowns(h, given)
	d.healthEnabled(h, given)
}

// healthEnabled: enabled: false is short for both of the others.
func (d *decoder) healthEnabled(h *Health, given map[string]value) {
	v, ok := given["enabled"]
	if !ok || d.boolean(v) {
		return
	}
	for key, on := range map[string]bool{"measured": h.Measured, "cooldowns": h.Cooldowns} {
		if at, ok := given[key]; ok && on {
			d.fault(at, "is true where enabled is false")
		}
	}
	h.Measured, h.Cooldowns = false, false
}

// cooldowns checks that max_cooldown bounds the others; it bounds the defaults of
// those that are not given.
func (d *decoder) cooldowns(h *Health, given map[string]value) {
	for key, t := range map[string]*time.Duration{"cooldown": &h.Cooldown, "refusal_cooldown": &h.RefusalCooldown} {
		at, ok := given[key]
		switch {
		case *t <= h.MaxCooldown:
		case ok:
			d.fault(at, "%v is longer than max_cooldown, %v", *t, h.MaxCooldown)
		default:
			*t = h.MaxCooldown
		}
	}
}

// share is a percentage, or a factor, from 0 to 1.
func (d *decoder) share(v value) (float64, bool) {
	x, ok := d.percent(v)
	if !ok {
		return 0, false
	}
	f := x.InexactFloat64()
	if f > 1 {
		d.fault(v, "is more than 100%%")
		return 0, false
	}
	return f, true
}

func (d *decoder) positiveShare(v value) (float64, bool) {
	f, ok := d.share(v)
	if ok && f == 0 {
		d.fault(v, "is not above 0%%")
		return 0, false
	}
	return f, ok
}
