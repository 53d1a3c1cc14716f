package health

import "time"

// Phase says how far an offer is trusted.
type Phase uint8

// The phases.
const (
	Usable  Phase = iota
	Cooling       // behind the usable ones of its model (SEL-11)
	Probing       // its cooldown after failures is over, and it has yet to prove itself
)

// String returns the name that metrics use.
func (p Phase) String() string { return [...]string{"usable", "cooling", "probing"}[p] }

// Stats are what people want to know of an offer beside its figures.
type Stats struct {
	Phase       Phase
	Ends        [Classes]uint64 // how attempts ended, since this process began
	InFlight    int             // attempts that started here, and whose end was not reported
	Consecutive int             // failures since the last success
	Strikes     int             // cooldowns after failures, each within a window of the last
	Samples     int             // answers in the window, of all instances
}

// Stats returns those of the offer with this index, which the table must have.
func (t *Table) Stats(index int, now time.Time) Stats {
	o, at := &t.offers[index], now.UnixNano()
	s := Stats{
		Ends: o.totals, InFlight: int(o.inFlight),
		Consecutive: int(o.failed.n), Strikes: int(o.strikes),
	}
	switch {
	case !t.cfg.Cooldowns: // usable
	case at < o.coolTill:
		s.Phase = Cooling
	case o.probing(at):
		s.Phase = Probing
	}
	for kind := range o.windows {
		t.sum(o, kind, at)
		s.Samples += int(t.sums.n[ttft])
	}
	return s
}
