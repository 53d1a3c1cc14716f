package extproc

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/policy"
)

// tally writes down what Flights are told, and grants so many probes.
type tally struct {
	probes int
	said   []string
}

func (f *tally) Begin(id string, o *catalog.Offer) {
	f.said = append(f.said, "begin "+id+" "+o.Provider.Slug)
}

func (f *tally) Probe(id string, o *catalog.Offer) bool {
	f.said = append(f.said, "probe "+id+" "+o.Provider.Slug)
	f.probes--
	return f.probes >= 0
}

func (f *tally) Cancel(id string) { f.said = append(f.said, "cancel "+id) }

// A request that would try an offer that is yet to prove itself does so if there is a
// probe left, else it goes as if there were no chance of it; what is not admitted is
// taken back.
func TestFlights(t *testing.T) {
	for name, tc := range map[string]struct {
		probing  bool
		probes   int
		admitted error
		want     []string
		first    string
	}{
		"usable":          {want: []string{"begin id-1 alpha"}, first: names.TimedGroup("alpha")},
		"a probe":         {probing: true, probes: 1, want: []string{"probe id-1 alpha"}, first: names.TimedGroup("alpha")},
		"no probe left":   {probing: true, want: []string{"probe id-1 alpha", "begin id-1 beta"}, first: "beta"},
		"not admitted":    {admitted: errors.New("full"), want: []string{"begin id-1 alpha", "cancel id-1"}},
		"a probe, likely": {probing: true, probes: 1, admitted: errors.New("full"), want: []string{"probe id-1 alpha", "cancel id-1"}},
	} {
		d := testDecider(t, testCatalog)
		f := &tally{probes: tc.probes}
		d.Flights, d.Admit = f, func(string, []byte) error { return tc.admitted }
		if tc.probing {
			w := *d.Live.Load()
			w.Snapshot = &policy.Snapshot{Catalog: w.Snapshot.Catalog, Health: policy.NewHealth([]policy.OfferHealth{
				{Probe: 1, CoolingTill: d.Now().Add(-time.Second), ProbingTill: d.Now().Add(time.Minute)},
			})}
			d.Live.Store(&w)
		}
		out, err := process(t, testServer(d), "", chat(`{"model":"m","messages":[]}`)...)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(f.said, tc.want) {
			t.Errorf("%s: flights heard %q, want %q", name, f.said, tc.want)
		}
		groups := out[0].GetDynamicMetadata().GetFields()[names.Namespace].GetStructValue().GetFields()[names.KeyPriorityGroups].GetListValue().GetValues()
		if tc.first != "" && groups[0].GetStructValue().GetFields()["name"].GetStringValue() != tc.first {
			t.Errorf("%s: the chain is %v, want %s first", name, groups, tc.first)
		}
	}
}
