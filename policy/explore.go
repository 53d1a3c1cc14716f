package policy

import "github.com/shunt-gateway/shunt/catalog"

// Chance is what a request's random value comes to, for one question of several.
// 0 is no chance at all: dry runs show what is likeliest.
type chance uint64

// of returns a number from 0 up to, not including, 1. Questions differ in salt.
func (c chance) of(salt uint64) float64 {
	x := uint64(c) ^ salt*0x9e3779b97f4a7c15
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11) / (1 << 53)
}

func (c chance) hits(share float64, salt uint64) bool { return c != 0 && c.of(salt) < share }

const (
	saltExplore = iota + 1
	saltExplored
	saltProbe // and those after it: one for each offer
)

// behind says whether an offer stands behind the usable ones: it is cooling down
// (SEL-11), or has yet to prove itself and this request is not among those that try.
func (d *decider) behind(index int, h *OfferHealth) bool {
	return h.CoolingTill.After(d.now) || d.probing(h) && !d.chance.hits(float64(h.Probe), saltProbe+uint64(index))
}

func (d *decider) probing(h *OfferHealth) bool {
	return !h.ProbingTill.IsZero() && h.ProbingTill.After(d.now)
}

// explores: the platform alone chooses, by figures that measuring could change, and
// there is a second attempt. Never where a client or a user selected anything.
func (d *decider) explores() bool {
	return d.preferring && !d.saved && d.limit > 1 && d.sort != catalog.SortPrice && !d.req.Caching
}

// explore puts an offer with too few recent samples first, in a share of requests:
// one that nobody asks is one that nobody knows anything of. What was listed by
// someone stands where it stands, and as long as the best one is not known
// either, there is nothing to compare it with.
func (d *decider) explore(m *candidates) {
	if !d.chance.hits(d.snap.Catalog.Routing.Health.Explore, saltExplore) || !d.explores() {
		return
	}
	first, unknown := &m.entries[0], 0
	for i := range m.entries {
		e := &m.entries[i]
		if e.place&^behindUsable != placeSorted {
			return
		}
		if d.comparePlaced(e, first) < 0 {
			first = e
		}
		if d.explorable(e) {
			unknown++
		}
	}
	if unknown == 0 || first.cooling() || d.explorable(first) {
		return
	}
	nth := int(d.chance.of(saltExplored) * float64(unknown))
	for i := range m.entries {
		if e := &m.entries[i]; d.explorable(e) {
			if nth == 0 {
				e.place, e.reason = placeFirst, Explored
				return
			}
			nth--
		}
	}
}

func (d *decider) explorable(e *entry) bool {
	h := d.snap.Health.At(int(e.offer))
	return (h.Stale || d.probing(h)) && !h.CoolingTill.After(d.now)
}
