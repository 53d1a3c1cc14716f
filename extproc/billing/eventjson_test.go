package billing

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// What is written by hand is what the tags ask for.
func sameAsTags(t *rapid.T, e *Event, got []byte) {
	want, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any // escapes may be spelt in two ways
	if err := errors.Join(json.Unmarshal(got, &a), json.Unmarshal(want, &b)); err != nil || !reflect.DeepEqual(a, b) {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// The order of the members, too.
func TestEventMembersInOrder(t *testing.T) {
	e := Settle(&Quote{ID: "1", Source: "shunt/a"}, &Record{Start: admitted})
	m, err := e.Message()
	if err != nil {
		t.Fatal(err)
	}
	if want, err := json.Marshal(e); err != nil || string(want) != string(m.Body) {
		t.Errorf("got  %s\nwant %s, %v", m.Body, want, err)
	}
}
