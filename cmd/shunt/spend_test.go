package main

import (
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/policy"
)

// What the last attempt of a request says of its offer: that it is there, that it is
// not, or nothing.
func TestSpend(t *testing.T) {
	answered := &billing.Record{Status: 200, AttemptCount: 1, Provider: "p"}
	for _, tc := range []struct {
		name  string
		r     billing.Record
		after bool // it is down after five of them
		still bool // it is down after one more, of one that was
	}{
		{"answered", *answered, false, false},
		{"400", billing.Record{Status: 400, AttemptCount: 1, Last: billing.Attempt{}}, false, false},
		{"404", billing.Record{Status: 404, AttemptCount: 1}, false, false},
		{"503", billing.Record{Status: 503, AttemptCount: 1, Last: billing.Attempt{Outcome: billing.OutcomeStatus}}, true, true},
		{"429", billing.Record{Status: 429, AttemptCount: 1, Last: billing.Attempt{Outcome: billing.OutcomeStatus}}, true, true},
		{"408", billing.Record{Status: 408, AttemptCount: 1, Last: billing.Attempt{Outcome: billing.OutcomeStatus}}, true, true},
		{"reset", billing.Record{Status: 502, AttemptCount: 1, Last: billing.Attempt{Outcome: billing.OutcomeReset}}, true, true},
		{"timeout", billing.Record{Status: 502, AttemptCount: 1, Duration: 21 * time.Second, Last: billing.Attempt{Outcome: billing.OutcomeTimeout}}, true, true},
		{"timeout in a hurry", billing.Record{Status: 504, AttemptCount: 1, Duration: 2 * time.Second, Last: billing.Attempt{Outcome: billing.OutcomeTimeout}}, false, true},
		{"broken off", billing.Record{Status: 200, AttemptCount: 1, End: billing.EndCut}, false, true},
		{"the client left", billing.Record{AttemptCount: 1, End: billing.EndClientGone}, false, true},
		{"none was made", billing.Record{Status: 504, AttemptCount: 0}, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, q, down := spending(t)
			for range failures {
				a.spend(q, &tc.r)
			}
			if got := down(); got != tc.after {
				t.Errorf("down after %d: %v", failures, got)
			}
			a.spend(q, answered)
			for range failures {
				a.spend(q, &billing.Record{Status: 503, AttemptCount: 1, Last: billing.Attempt{Outcome: billing.OutcomeStatus}})
			}
			a.spend(q, &tc.r)
			if got := down(); got != tc.still {
				t.Errorf("down after one more: %v", got)
			}
		})
	}
}

// spending is an app whose budget has nothing to spend, a quote of one of two offers,
// and whether both count as down when the other does.
func spending(t *testing.T) (a *app, q *billing.Quote, down func() bool) {
	t.Helper()
	c, err := catalog.Parse(catalog.Source{Name: "test.yaml", Dir: "/", Data: []byte(`
providers: {p: {endpoint: "http://127.0.0.1:1"}, q: {endpoint: "http://127.0.0.1:1"}}
models: {m: {offers: [{provider: p, model: up}, {provider: q, model: up}]}}
routing: {retry_budget: {share: 0%, per_second: 0}}
`)})
	if err != nil {
		t.Fatal(err)
	}
	w := &extproc.World{Snapshot: &policy.Snapshot{Catalog: c}, Budget: extproc.NewBudget(c)}
	a = &app{}
	a.live.Store(w)
	q = &billing.Quote{Model: "m", Offers: []billing.Offer{{Provider: "p", Upstream: "up"}}}
	return a, q, func() bool {
		d := &policy.Decision{}
		for _, o := range c.Offers() {
			d.Attempts = append(d.Attempts, policy.Attempt{Offer: o})
		}
		for range failures {
			w.Budget.Failed(1, time.Now())
		}
		w.Budget.Grant(d, time.Now())
		return len(d.Attempts) == 1
	}
}

const failures = 5 // in a row, and an offer is down
