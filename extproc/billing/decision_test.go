package billing

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// reflected has DecisionData's members and none of its methods.
type reflected DecisionData

// What MarshalJSON writes by hand is what the tags ask for.
func TestDecisionJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := genQuote.Draw(t, "quote")
		d := q.decision(q.Default)
		got, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(reflected(d))
		if err != nil {
			t.Fatal(err)
		}
		var a, b any // escapes may be spelt in two ways
		if err := errors.Join(json.Unmarshal(got, &a), json.Unmarshal(want, &b)); err != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}
