package health_test

import (
	"container/heap"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/health"
)

// The simulation: clients, providers whose behaviour is known, and between them
// policy.Decide and a health.Table, in simulated time. Ends are reported when an
// attempt has ended, and a second later at that, as the access log does; figures are
// published four times a second.
const (
	reportDelay  = time.Second
	publishEvery = 250 * time.Millisecond
	firstByte    = 20 * time.Second // a provider's timeout
	sigma        = 0.3              // of the logarithm of TTFTs
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// host is a provider at one moment.
type host struct {
	ttft   time.Duration // its median
	fails  float64       // share of requests
	with   health.Event  // how
	takes  time.Duration // until such a failure shows
	limit  int           // requests a second; 0: any number
	ignore bool          // the oracle does not use it
}

// hosts is how a provider behaves over time.
type hosts func(at time.Duration) host

type sim struct {
	t      testing.TB
	rnd    *rand.Rand
	now    time.Duration
	queue  queue
	hosts  []hosts
	served []int // in the current second
	second time.Duration

	table *health.Table
	snap  *policy.Snapshot
	req   *policy.Request

	leader   string
	switches []time.Duration
	asked    []asked
}

// asked is one request.
type asked struct {
	at       time.Duration
	first    int // whom it asked first
	best     int // whom the oracle would have asked
	attempts int
	explored bool
	ttft     time.Duration // as the client saw it
	ideal    time.Duration // as the oracle would have
	failed   bool
}

func newSim(t testing.TB, seed uint64, estimates []time.Duration, providers ...hosts) *sim {
	var b, offers strings.Builder
	b.WriteString("providers:\n")
	for i := range providers {
		fmt.Fprintf(&b, "  p%d: {endpoint: \"http://127.0.0.1:1\"}\n", i)
		fmt.Fprintf(&offers, "      - {provider: p%d, model: m", i)
		if estimates != nil {
			fmt.Fprintf(&offers, ", estimate: {ttft: %v}", estimates[i])
		}
		offers.WriteString("}\n")
	}
	b.WriteString("models:\n  m:\n    offers:\n" + offers.String())
	c, err := catalog.Parse(catalog.Source{Name: "sim.yaml", Data: []byte(b.String()), Dir: "/etc/shunt"})
	if err != nil {
		t.Fatal(err)
	}
	s := &sim{
		t: t, rnd: rand.New(rand.NewPCG(1, seed)), hosts: providers, served: make([]int, len(providers)),
		table: health.New(c, c.Routing.Health, 1), snap: &policy.Snapshot{Catalog: c},
	}
	in := &policy.Input{API: catalog.Chat, Path: "/v1/chat/completions", Model: []byte(`"m"`)}
	var refused *policy.Error
	if s.req, refused = policy.Read(in, c); refused != nil {
		t.Fatal(refused)
	}
	return s
}

// run lets clients ask rps times a second, at random times, for so long.
func (s *sim) run(length time.Duration, rps float64) {
	s.after(0, s.publish)
	var next func()
	next = func() {
		s.request()
		s.after(time.Duration(s.rnd.ExpFloat64()/rps*float64(time.Second)), next)
	}
	s.after(0, next)
	for s.now < length {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.do()
	}
}

func (s *sim) clock() time.Time { return noon.Add(s.now) }

func (s *sim) after(d time.Duration, do func()) {
	s.queue.n++
	heap.Push(&s.queue, event{s.now + d, s.queue.n, do})
}

// publish is what the program around a Table does.
func (s *sim) publish() {
	s.snap = &policy.Snapshot{Catalog: s.snap.Catalog, Health: s.snap.Health.With(figures(s.table.Changes(s.clock())))}
	if leader := s.decide(0).Attempts[0].Offer.Provider.Slug; leader != s.leader {
		s.leader, s.switches = leader, append(s.switches, s.now)
	}
	s.after(publishEvery, s.publish)
}

// figures hands the figures of package health to package policy.
func figures(changes []health.Change) iter.Seq2[int, policy.OfferHealth] {
	return func(yield func(int, policy.OfferHealth) bool) {
		for _, c := range changes {
			if !yield(c.Offer, policy.OfferHealth(c.Figures)) {
				return
			}
		}
	}
}

func (s *sim) decide(rnd uint64) *policy.Decision {
	d, refused := policy.Decide(s.req, s.snap, s.clock(), rnd)
	if refused != nil {
		s.t.Fatal(refused)
	}
	return d
}

// request asks one provider after the other. Whoever answers does so by the same
// luck, so that the oracle's answer compares.
func (s *sim) request() {
	d := s.decide(s.rnd.Uint64())
	luck := math.Exp(sigma * s.rnd.NormFloat64())
	r := asked{
		at: s.now, first: d.Attempts[0].Offer.Index, best: s.oracle(),
		explored: d.Attempts[0].Reason == policy.Explored,
	}
	if r.best >= 0 {
		r.ideal = scaled(s.hosts[r.best](s.now).ttft, luck)
	}
	s.attempt(d, &r, luck)
}

func scaled(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }

// oracle knows who is fastest, and works; -1: nobody.
func (s *sim) oracle() int {
	best := -1
	for i, p := range s.hosts {
		h := p(s.now)
		if h.fails < 0.1 && !h.ignore && (best < 0 || h.ttft < s.hosts[best](s.now).ttft) {
			best = i
		}
	}
	return best
}

func (s *sim) attempt(d *policy.Decision, r *asked, luck float64) {
	i := d.Attempts[r.attempts].Offer.Index
	r.attempts++
	began := s.clock()
	start := health.Event{Offer: i, Outcome: health.Started, Started: began}
	s.table.Apply(&start, began)

	end := s.answer(i, luck)
	end.Offer, end.Started = i, began
	s.after(end.Duration+reportDelay, func() { s.table.Apply(&end, s.clock()) })
	switch {
	case end.Outcome == health.OK:
		r.ttft = s.now - r.at + end.TTFT
		s.asked = append(s.asked, *r)
	case r.attempts == len(d.Attempts):
		r.failed = true
		s.asked = append(s.asked, *r)
	default:
		s.after(end.Duration, func() { s.attempt(d, r, luck) })
	}
}

// answer is what a provider makes of an attempt.
func (s *sim) answer(i int, luck float64) health.Event {
	h := s.hosts[i](s.now)
	if second := s.now / time.Second; second != s.second {
		s.second = second
		clear(s.served)
	}
	s.served[i]++
	if h.limit > 0 && s.served[i] > h.limit {
		return health.Event{Outcome: health.Status, Status: 429, RetryAfter: time.Second, Duration: 30 * time.Millisecond}
	}
	if s.rnd.Float64() < h.fails {
		h.with.Duration = h.takes
		return h.with
	}
	ttft, tokens := scaled(h.ttft, luck), 50+s.rnd.IntN(300)
	return health.Event{
		Outcome: health.OK, Status: 200, Stream: true, TTFT: ttft,
		Duration: ttft + time.Duration(tokens)*12*time.Millisecond, Tokens: int64(tokens),
	}
}

// event is something that happens at a time.
type event struct {
	at time.Duration
	n  int // of two at the same time, the one that was planned first
	do func()
}

type queue struct {
	events []event
	n      int
}

func (q *queue) Len() int { return len(q.events) }
func (q *queue) Less(i, k int) bool {
	a, b := &q.events[i], &q.events[k]
	return a.at < b.at || a.at == b.at && a.n < b.n
}
func (q *queue) Swap(i, k int) { q.events[i], q.events[k] = q.events[k], q.events[i] }
func (q *queue) Push(e any)    { q.events = append(q.events, e.(event)) }
func (q *queue) Pop() any {
	e := q.events[len(q.events)-1]
	q.events = q.events[:len(q.events)-1]
	return e
}
