package policy_test

import (
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// TestMain makes rapid check 2,000 cases unless -rapid.checks or RAPID_CHECKS says
// otherwise.
func TestMain(m *testing.M) {
	if _, ok := os.LookupEnv("RAPID_CHECKS"); !ok {
		if err := flag.Set("rapid.checks", "2000"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// run reads and decides q in w.
func run(w *world, q *query) (*policy.Request, *policy.Decision, *policy.Error) {
	req, err := policy.Read(q.input(), w.cat)
	if err != nil {
		return nil, nil, err
	}
	q.apply(req, w.cat)
	dec, err := policy.Decide(req, &policy.Snapshot{Catalog: w.cat, Health: policy.NewHealth(w.health)}, noon, 0)
	return req, dec, err
}

func chainOf(d *policy.Decision) (chain []string) {
	for _, a := range d.Attempts {
		chain = append(chain, a.Offer.Provider.Slug+"@"+a.Offer.Model.ID)
	}
	return chain
}

// TestNaive compares Read and Decide with the second implementation.
//
//	go test ./policy -run TestNaive -rapid.checks 100000
func TestNaive(t *testing.T) {
	codes := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		q := drawQuery(t, w)
		asked := *q
		want := decideNaively(w, &asked)
		req, dec, err := run(w, q)
		var got outcome
		if err != nil {
			got.code = err.Code
			if err.Status != 400 && err.Status != 404 || err.Message == "" {
				t.Errorf("%+v is not a whole error", err)
			}
		} else {
			got = outcome{chain: chainOf(dec), kind: dec.Kind.String(), paygo: dec.Paygo}
		}
		codes[got.code+got.kind]++
		if !reflect.DeepEqual(&got, want) {
			t.Fatalf("got  %+v\nwant %+v\n%v\nquery %+v\n%s", got, *want, err, *q, w.yaml)
		}
		if req != nil {
			checkInvariants(t, w, q, req, dec, err)
		}
	})
	// what is never drawn is never compared
	for _, outcome := range []string{"default", "explicit", "suffix", "preference", "caching",
		"model_not_found", "missing_model", "invalid_parameter", "invalid_suffix_combination", "provider_selection_unsupported",
		"provider_conflict", "provider_unknown_provider", "provider_not_available", "unknown_engine",
		"no_cache_capable_provider", "no_fallback_available"} {
		if codes[outcome] == 0 && !t.Failed() && !testing.Short() {
			t.Errorf("no request came to %s", outcome)
		}
	}
	t.Log(codes)
}

// checkInvariants holds for every decision, also for the one beside an error.
func checkInvariants(t *rapid.T, w *world, q *query, req *policy.Request, dec *policy.Decision, err *policy.Error) {
	if len(dec.Attempts) > w.cat.Routing.MaxAttempts {
		t.Fatalf("%d attempts, at most %d are allowed", len(dec.Attempts), w.cat.Routing.MaxAttempts)
	}
	if (err == nil) != (len(dec.Attempts) > 0) {
		t.Fatalf("error %v with %d attempts", err, len(dec.Attempts))
	}
	seen := make(map[*catalog.Offer]int)
	for _, a := range dec.Attempts {
		o := a.Offer
		seen[o]++
		if !o.Enabled || !o.APIs.Has(q.api) || a.Reason.String() == "" {
			t.Fatalf("%s is attempted: %s", o.Provider.Slug, a.Reason)
		}
	}
	for _, l := range dec.Left {
		seen[l.Offer]++
		if l.Reason.String() == "" {
			t.Fatalf("%s is left out without a reason", l.Offer.Provider.Slug)
		}
	}
	for _, m := range append([]*catalog.Model{req.Model}, req.Models...) {
		for _, o := range m.Offers {
			if seen[o] != 1 {
				t.Fatalf("%s@%s is in the decision %d times", o.Provider.Slug, m.ID, seen[o])
			}
			delete(seen, o)
		}
	}
	if len(seen) > 0 {
		t.Fatalf("%d offers of other models", len(seen))
	}
	snap := &policy.Snapshot{Catalog: w.cat, Health: policy.NewHealth(w.health)}
	again, err2 := policy.Decide(req, snap, noon, 0)
	if !reflect.DeepEqual(dec, again) || !reflect.DeepEqual(err, err2) {
		t.Fatalf("the same inputs gave another decision")
	}
	checkChance(t, w, req, dec, err)
	header := policy.Explain(req, dec, snap).Header(200)
	if len(header) > 200 || strings.ContainsFunc(header, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Fatalf("header %q", header)
	}
}

// TestNeverDisallowed checks the hard controls by themselves: whatever else a
// request says, who is excluded never serves.
func TestNeverDisallowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		q := drawQuery(t, w)
		only, ignore := some(t, "hard only", slugs, 3), some(t, "hard ignore", slugs, 2)
		limits := chance(t, "limit", 50)
		q.fields["provider"] = `{"ignore":` + toJSON(ignore) + `}`
		if limits {
			q.fields["provider"] = `{"ignore":` + toJSON(ignore) + `,"only":` + toJSON(only) + `}`
		}
		req, dec, err := run(w, q)
		if err != nil || !req.Model.ProviderSelection {
			return
		}
		for _, a := range dec.Attempts {
			slug := a.Offer.Provider.Slug
			if slices.Contains(ignore, slug) || limits && !slices.Contains(only, slug) {
				t.Fatalf("%s is in the chain: only %v, ignore %v", slug, only, ignore)
			}
		}
	})
}
