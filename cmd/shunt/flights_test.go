package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/health"
)

// tower is vitals over models m and n, that p0, p1 and p2 all offer.
func tower(t testing.TB, more string) (*vitals, *catalog.Catalog) {
	t.Helper()
	text := "providers: {p0: {endpoint: \"http://127.0.0.1:1\"}, p1: {endpoint: \"http://127.0.0.1:1\"}, p2: {endpoint: \"http://127.0.0.1:1\"}}\nmodels:\n"
	for _, m := range []string{"m", "n"} {
		text += "  " + m + ": {offers: [{provider: p0, model: u}, {provider: p1, model: u}, {provider: p2, model: u}]}\n"
	}
	c, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Data: []byte(text + more), Dir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	v := &vitals{live: &extproc.Live{}}
	v.adopt(&extproc.World{Snapshot: &policy.Snapshot{Catalog: c}})
	return v, c
}

// request is one that goes through a chain of p0, p1 and p2 of m, then p0 of n.
func request(id string) *billing.Quote {
	return &billing.Quote{ID: id, Model: "m", Stream: true, Offers: []billing.Offer{
		{Provider: "p0", Upstream: "u"}, {Provider: "p1", Upstream: "u"}, {Provider: "p2", Upstream: "u"},
		{Provider: "p0", Upstream: "u", Model: "n"},
	}}
}

// aloft is how many attempts are in flight at each offer.
func (v *vitals) aloft() (n [6]int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hear()
	for i := range n {
		n[i] = v.table.Stats(i, time.Now()).InFlight
	}
	return n
}

func fails(q *billing.Quote, place int, status int) *billing.Attempt {
	return &billing.Attempt{Provider: q.Offers[place].Provider, Outcome: billing.OutcomeStatus, Status: status, Start: time.Now(), Duration: time.Millisecond}
}

func answered(attempts int, r billing.Record) *billing.Record {
	r.Start, r.Duration, r.TTFT, r.AttemptCount = time.Now(), time.Second, time.Millisecond, attempts
	return &r
}

// An attempt is in flight at one offer at a time, from its decision on, and at none
// when its request has ended, however it did.
func TestFlights(t *testing.T) {
	v, c := tower(t, "")
	want := func(what string, n ...int) {
		t.Helper()
		var all [6]int
		copy(all[:], n)
		if got := v.aloft(); got != all {
			t.Errorf("%s: in flight %v, want %v", what, got, all)
		}
	}
	q := request("1")
	v.flights.Begin("1", c.Offers()[0])
	want("begun", 1)
	v.flights.Begin("1", c.Offers()[0])
	want("asked twice", 1)
	v.failed(q, fails(q, 0, 503))
	want("at the second", 0, 1)
	v.failed(q, fails(q, 1, 503))
	v.failed(q, fails(q, 1, 503))
	want("reported twice", 0, 0, 1)
	v.failed(q, fails(q, 2, 503))
	want("at the other model's", 0, 0, 0, 1)
	if at := v.table.Stats(3, time.Now()).Ends; at != [health.Classes]uint64{} {
		t.Errorf("the other model's offer has ended already: %v", at)
	}
	v.ended(q, answered(4, billing.Record{Status: 200, Provider: "p0"}))
	want("answered")
	if n := v.table.Stats(3, time.Now()).Ends[health.Succeeded]; n != 1 {
		t.Errorf("the offer that answered has %d successes, want 1", n)
	}

	v.flights.Begin("2", c.Offers()[0])
	v.flights.Cancel("2")
	want("not admitted")
	v.flights.Begin("3", c.Offers()[1])
	v.unsettled("3")
	want("unsettled")
	v.unsettled("3")
	v.ended(request("3"), answered(1, billing.Record{Status: 200, Provider: "p0"}))
	want("settled late, and not seen to begin")

	q = request("4")
	v.flights.Begin("4", c.Offers()[0])
	v.failed(q, fails(q, 0, http.StatusBadRequest))
	want("the client's fault")
	v.ended(q, answered(1, billing.Record{Status: 400, Provider: "p0"}))
	want("ended with it")

	q = request("5")
	v.flights.Begin("5", c.Offers()[0])
	v.failed(q, fails(q, 1, 503)) // the first one's report was lost
	want("at the third", 0, 0, 1)
	v.adopt(&extproc.World{Snapshot: &policy.Snapshot{Catalog: c}})
	want("after a reload", 0, 0, 1)
	v.ended(q, answered(3, billing.Record{Status: 200, Provider: "p2", End: billing.EndClientGone}))
	want("the client left")
}

// Whatever is reported and lost, once all requests are settled or given up nothing is
// in flight and nothing is kept.
func TestFlightsLeakNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v, c := tower(t, "")
		open := map[string]*billing.Quote{}
		for i := range rapid.IntRange(1, 60).Draw(rt, "steps") {
			id := fmt.Sprint(rapid.IntRange(0, 9).Draw(rt, "request"))
			q := open[id]
			switch {
			case q == nil:
				q = request(fmt.Sprint(id, "-", i))
				open[id] = q
				if rapid.Bool().Draw(rt, "begun here") {
					v.flights.Begin(q.ID, c.Offers()[0])
				}
				continue
			case rapid.IntRange(0, 9).Draw(rt, "reload") == 0:
				v.adopt(&extproc.World{Snapshot: &policy.Snapshot{Catalog: c}})
			}
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0, 1:
				v.failed(q, fails(q, rapid.IntRange(0, 3).Draw(rt, "place"), rapid.SampledFrom([]int{0, 200, 400, 429, 500}).Draw(rt, "status")))
			case 2:
				v.ended(q, answered(rapid.IntRange(0, 4).Draw(rt, "attempts"), billing.Record{
					Status: rapid.SampledFrom([]int{0, 200, 400, 503}).Draw(rt, "status"), Provider: rapid.SampledFrom([]string{"", "p0", "p1"}).Draw(rt, "provider"),
					End: billing.End(rapid.IntRange(0, 2).Draw(rt, "end")),
				}))
				delete(open, id)
			case 3:
				v.unsettled(q.ID)
				delete(open, id)
			default:
				v.flights.Cancel(q.ID)
				delete(open, id)
			}
			sum := 0
			for _, n := range v.aloft() {
				sum += n
			}
			if sum != len(v.flights.byID) {
				rt.Fatalf("%d in flight, %d known", sum, len(v.flights.byID))
			}
		}
		for _, q := range open {
			v.unsettled(q.ID)
		}
		if n := v.aloft(); n != [6]int{} || len(v.flights.byID) != 0 {
			rt.Fatalf("%v in flight, %d kept", n, len(v.flights.byID))
		}
	})
}

// No more requests try an offer that is yet to prove itself than it takes, whoever
// asks at the same time, and as many again when those have ended.
func TestProbesAreCounted(t *testing.T) {
	v, c := tower(t, "routing: {health: {probe: 100%, probe_successes: 2}}\n")
	o := c.Offers()[0]
	began := time.Now().Add(-15 * time.Second) // the cooldown ended a second ago
	for i := range 5 {
		v.table.Apply(&health.Event{Outcome: health.Status, Status: 500, Started: began}, began.Add(time.Duration(i)*time.Second))
	}
	publish := func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.hear()
		v.publish(time.Now())
	}
	take := func() (taken int) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range 50 {
			wg.Go(func() {
				if v.flights.Probe(fmt.Sprint("r", i), o) {
					mu.Lock()
					defer mu.Unlock()
					taken++
				}
			})
		}
		wg.Wait()
		return taken
	}
	publish()
	if n := take(); n != 2 {
		t.Errorf("%d requests try it, want 2", n)
	}
	publish()
	if n := take(); n != 0 {
		t.Errorf("%d more try it", n)
	}
	for i := range 50 {
		v.flights.Cancel(fmt.Sprint("r", i))
	}
	publish()
	if n := take(); n != 2 {
		t.Errorf("%d requests try it when the others were not admitted, want 2", n)
	}
}

// BenchmarkBegin is what a request waits for.
//
//	go test ./cmd/shunt -run '^$' -bench Begin
func BenchmarkBegin(b *testing.B) {
	v, c := tower(b, "")
	o := c.Offers()[0]
	ids := make([]string, 4096)
	for i := range ids {
		ids[i] = fmt.Sprintf("3f9c2a1e-0000-4000-8000-%012d", i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		v.flights.Begin(ids[i%len(ids)], o)
		if i++; i%len(ids) == 0 {
			for _, id := range ids {
				v.flights.end(id)
			}
			v.flights.news()
		}
	}
}
