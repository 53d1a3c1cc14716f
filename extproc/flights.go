package extproc

import (
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// Flights count what providers are working on. They are called by every request, on
// its way, and must not block.
type Flights interface {
	// Begin takes note that a request asks o first.
	Begin(id string, o *catalog.Offer)
	// Probe is Begin for an offer that has yet to prove itself, unless as many requests
	// as it takes are trying it: then nothing is noted, and it says false.
	Probe(id string, o *catalog.Offer) bool
	// Cancel takes Begin or Probe back: the request was not admitted.
	Cancel(id string)
}

// choose decides. A decision that would try an offer for which there is no probe left
// is made again, with no chance of it.
func (d *Decider) choose(rd *reading, now time.Time) (*policy.Decision, *policy.Error) {
	dec, refusal := policy.Decide(rd.req, rd.snap, now, d.Rand())
	if refusal != nil || d.Flights == nil {
		return dec, refusal
	}
	if probes(dec, rd.snap, now) {
		if d.Flights.Probe(rd.headers.id, dec.Attempts[0].Offer) {
			return dec, nil
		}
		if dec, refusal = policy.Decide(rd.req, rd.snap, now, 0); refusal != nil {
			return dec, refusal
		}
	}
	d.Flights.Begin(rd.headers.id, dec.Attempts[0].Offer)
	return dec, nil
}

// probes: the decision takes an offer for usable that has yet to prove itself.
func probes(dec *policy.Decision, snap *policy.Snapshot, now time.Time) bool {
	first := &dec.Attempts[0]
	h := snap.Health.At(first.Offer.Index)
	return !first.Cooling && h.ProbingTill.After(now) && !h.CoolingTill.After(now)
}

func (d *Decider) cancel(rq *routed) {
	if d.Flights != nil {
		d.Flights.Cancel(rq.id)
	}
}
