package health

import (
	"math"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
)

// Table is the state of all offers of a catalog. It is not safe for concurrent use.
type Table struct {
	cat      *catalog.Catalog
	cfg      config
	instance uint64

	offers    []offer // by Offer.Index
	models    []model
	providers []party
	everyone  circle // of providers
	byKey     map[uint64]int32

	published []Figures
	dirty     []int32 // offers whose figures may have changed
	unsent    []int32 // offers that other instances are to hear of
	epoch     uint32  // of the last Changes
	changes   []Change
	sums      sums
}

// model is what offers of one model have in common.
type model struct {
	offers   []int32
	circle   circle
	streamed uint32 // the last slot in which an answer was streamed
}

// Figures are what routing needs to know of an offer.
type Figures struct {
	TTFT        time.Duration // p50, steadied: see docs/health.md; 0: not measured
	Throughput  float64       // p50 of completion tokens per second, steadied; 0: not measured
	CoolingTill time.Time     // zero: it never cooled down
	Probe       float32       // until ProbingTill: the share of requests that may take it for usable
	Stale       bool          // too few recent samples: it is to be explored
	ProbingTill time.Time     // zero: never

	// At p50, p75, p90, p99: the value that as many of 100 answers were at least as
	// good as. All zero: not measured.
	TTFTs       [Quantiles]time.Duration
	Throughputs [Quantiles]float64
}

// Change is an offer with new figures.
type Change struct {
	Offer   int // Offer.Index
	Figures Figures
}

// New returns a table for cat in which nothing was measured yet. cfg is
// cat.Routing.Health. instance tells this process from others with which states are
// merged, and from itself before a restart: a random number.
func New(cat *catalog.Catalog, cfg catalog.Health, instance uint64) *Table {
	offers := cat.Offers()
	t := &Table{
		cat: cat, cfg: newConfig(cfg), instance: instance,
		offers:    make([]offer, len(offers)),
		models:    make([]model, len(cat.Models)),
		providers: make([]party, len(cat.Providers)),
		byKey:     make(map[uint64]int32, len(offers)),
		published: make([]Figures, len(offers)),
	}
	models := make(map[*catalog.Model]int32, len(cat.Models))
	for i, m := range cat.Models {
		models[m] = int32(i)
	}
	providers := make(map[*catalog.Provider]int32, len(cat.Providers))
	for i, p := range cat.Providers {
		providers[p] = int32(i)
	}
	for i, o := range offers {
		s := &t.offers[i]
		s.model, s.provider = models[o.Model], providers[o.Provider]
		t.models[s.model].offers = append(t.models[s.model].offers, int32(i))
		t.byKey[keyOf(o)] = int32(i)
		t.touch(int32(i)) // its figures say that it is to be explored
	}
	return t
}

// Apply takes one event in. It allocates for the first samples of an offer only.
func (t *Table) Apply(ev *Event, now time.Time) {
	if ev.Offer < 0 || ev.Offer >= len(t.offers) {
		return
	}
	i, o, at := int32(ev.Offer), &t.offers[ev.Offer], now.UnixNano()
	started := at
	if !ev.Started.IsZero() {
		started = ev.Started.UnixNano()
	}
	if ev.Outcome == Started {
		o.start(started)
		t.touchProbing(i, at)
		return
	}
	o.end(started)
	c, ok := classOf(ev)
	if !ok {
		t.touchProbing(i, at)
		return
	}
	before := o.version
	o.reduce(ev, c, &t.cfg, started, at, t.suspect(o, reach(ev, c), at))
	t.touch(i)
	if o.version != before {
		t.tell(i)
	}
	if c == Succeeded && ev.Stream {
		t.sawStream(&t.models[o.model], t.cfg.epoch(at))
	}
}

// suspect hears out an end, and tells whether it speaks of our own network.
func (t *Table) suspect(o *offer, reach int, now int64) own {
	m := &t.models[o.model]
	if reach != 0 {
		m.circle.hear(&o.reach, reach, now)
		t.everyone.hear(&t.providers[o.provider], reach, now)
	}
	if reach >= 0 {
		return cleared
	}
	return max(m.circle.suspect(now), t.everyone.suspect(now))
}

// sawStream: from now on, figures of the model are those of streams.
func (t *Table) sawStream(m *model, epoch uint32) {
	if epoch-m.streamed >= slots {
		for _, i := range m.offers {
			t.touch(i)
		}
	}
	m.streamed = epoch
}

// tell: other instances are to hear of it.
func (t *Table) tell(i int32) {
	if o := &t.offers[i]; !o.unsent {
		o.unsent = true
		t.unsent = append(t.unsent, i)
	}
}

func (t *Table) touch(i int32) {
	if o := &t.offers[i]; !o.dirty {
		o.dirty = true
		t.dirty = append(t.dirty, i)
	}
}

// touchProbing: how many attempts are in flight matters to a probed offer alone.
func (t *Table) touchProbing(i int32, now int64) {
	if t.offers[i].probing(now) {
		t.touch(i)
	}
}

// Changes returns the offers whose figures changed since the last call, all of them
// the first time. Its cost is that of the offers with events since then; once in a
// quarter of the window it is that of all offers with samples. The slice is good
// until the next call.
func (t *Table) Changes(now time.Time) []Change {
	at := now.UnixNano()
	if epoch := t.cfg.epoch(at); epoch != t.epoch {
		t.epoch = epoch
		for i := range t.offers {
			if o := &t.offers[i]; o.windows != [2]*window{} || o.remote != nil {
				t.forget(o, at)
				t.touch(int32(i))
			}
		}
	}
	t.changes = t.changes[:0]
	for _, i := range t.dirty {
		t.offers[i].dirty = false
		f := t.figures(int(i), at)
		if f != t.published[i] {
			t.published[i] = f
			t.changes = append(t.changes, Change{int(i), f})
		}
	}
	t.dirty = t.dirty[:0]
	return t.changes
}

// steady is how far a figure must move, as a part of itself, before the ranking hears
// of it, and further if it rests on few samples: a median of n samples strays by
// about a third of 1/√n. So two equal providers stay in one order.
const steady = 0.10

func steadied(published, measured float64, n uint32) float64 {
	if band := max(steady, 1/math.Sqrt(float64(n))); published > 0 && measured > 0 && math.Abs(measured-published) <= band*published {
		return published
	}
	return measured
}

// figures are what routing is told. What is switched off is learned all the same, and
// not told: so it is there when it is switched on again.
func (t *Table) figures(i int, now int64) (f Figures) {
	o, old := &t.offers[i], &t.published[i]
	if t.cfg.Measured {
		m := t.measured(o, now)
		f.Stale = m.stale
		f.TTFT = seconds(steadied(old.TTFT.Seconds(), m.q[ttft][0], m.n[ttft]))
		f.Throughput = steadied(old.Throughput, m.q[rate][0], m.n[rate])
		for k := range Quantiles {
			f.TTFTs[k], f.Throughputs[k] = seconds(m.q[ttft][k]), m.q[rate][k]
		}
	}
	if !t.cfg.Cooldowns {
		return f
	}
	if o.coolTill > 0 {
		f.CoolingTill = time.Unix(0, o.coolTill).UTC()
	}
	if o.probingTill > 0 {
		f.ProbingTill = time.Unix(0, o.probingTill).UTC()
		// As many attempts as it takes are enough at one time: one that hangs says so late.
		if t.missing(o) > 0 {
			f.Probe = float32(t.cfg.Probe)
		}
	}
	return f
}

// missing is how many more probes may begin: as many as it takes.
func (t *Table) missing(o *offer) int { return max(t.cfg.ProbeSuccesses-int(o.proved+o.probes), 0) }

// Probes is how many more attempts may try an offer that is cooling down, or that has
// yet to prove itself; ok is false for others, which any number may try.
func (t *Table) Probes(index int, now time.Time) (n int, ok bool) {
	o := &t.offers[index]
	return t.missing(o), t.cfg.Cooldowns && now.UnixNano() < o.probingTill
}

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }
