package conformance

import (
	"fmt"
	"slices"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// Compare says how r differs from what is wanted; nothing where it does not.
func (w *Want) Compare(r *Result) (diffs []string) {
	differ := func(what string, got, want any) {
		if got != want {
			diffs = append(diffs, fmt.Sprintf("%s is %v, want %v", what, got, want))
		}
	}
	if r.Refusal != nil {
		e := r.Refusal
		differ("outcome", fmt.Sprint(e.Status, " ", e.Code, " ", e.Param), fmt.Sprint(w.Status, " ", w.Code, " ", w.Param))
		return diffs
	}
	if w.Status != 200 {
		return []string{fmt.Sprintf("no error, want %d %s %s", w.Status, w.Code, w.Param)}
	}
	differ("kind", r.Decision.Kind.String(), w.Kind)
	if w.Charged != "" {
		differ("paygo", r.Decision.Paygo, w.Charged == "paygo")
	}
	attempts := []Attempt{}
	for _, a := range r.Decision.Attempts {
		attempts = append(attempts, Attempt{a.Offer.Provider.Slug, otherModel(a.Offer, r.Decision)})
	}
	if !slices.Equal(attempts, w.Attempts) {
		differ("chain", fmt.Sprint(attempts), fmt.Sprint(w.Attempts))
	}
	left := make(map[LeftOut]bool)
	for _, l := range r.Decision.Left {
		left[LeftOut{l.Offer.Provider.Slug, otherModel(l.Offer, r.Decision), l.Reason.String()}] = true
	}
	for _, l := range w.Left {
		if !left[l] {
			diffs = append(diffs, fmt.Sprintf("%v is not left out for that reason", l))
		}
	}
	return diffs
}

func otherModel(o *catalog.Offer, d *policy.Decision) string {
	if o.Model == d.Model {
		return ""
	}
	return o.Model.ID
}
