package runner

import "time"

// RestartPolicy says how soon a dead Envoy is started again, and when to stop
// trying. The zero value means the defaults.
type RestartPolicy struct {
	First  time.Duration // wait after a first death. Default 200 ms; doubles with each fast death.
	Max    time.Duration // longest wait. Default 10 s.
	Stable time.Duration // a life this long wipes out the deaths before it. Default 30 s.
	Deaths int           // so many fast deaths …
	Window time.Duration // … in so long a time are the end. Defaults 5, 1 min.
}

func (p RestartPolicy) withDefaults() RestartPolicy {
	p.First = orDefault(p.First, 200*time.Millisecond)
	p.Max = orDefault(p.Max, 10*time.Second)
	p.Stable = orDefault(p.Stable, 30*time.Second)
	p.Deaths = orDefault(p.Deaths, 5)
	p.Window = orDefault(p.Window, time.Minute)
	return p
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// deaths is what a RestartPolicy remembers.
type deaths struct {
	at   []time.Time // of fast deaths inside the window
	wait time.Duration
}

// next takes in a death at now after a life of uptime. It gives the new memory,
// how long to wait before the next start, and whether there is to be one.
func (p RestartPolicy) next(d deaths, now time.Time, uptime time.Duration) (deaths, time.Duration, bool) {
	if uptime >= p.Stable {
		return deaths{wait: p.First}, p.First, true
	}
	recent := make([]time.Time, 0, len(d.at)+1)
	for _, t := range d.at {
		if now.Sub(t) < p.Window {
			recent = append(recent, t)
		}
	}
	recent = append(recent, now)
	wait := p.First
	if d.wait > 0 {
		wait = min(2*d.wait, p.Max)
	}
	return deaths{at: recent, wait: wait}, wait, len(recent) < p.Deaths
}
