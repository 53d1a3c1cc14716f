package admission

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// BILL-1: a request that Envoy gave up while it was admitted has no event, whichever
// of the two is heard of first, over a crash too.
func TestVoid(t *testing.T) {
	b := begin(t, Options{})
	admit(t, b, "before", "kept")
	b.Void("before")
	b.Void("after")
	b.Void("")
	if err := b.Admit("after", []byte("quote of after")); !errors.Is(err, ErrVoid) {
		t.Errorf("admitted after it was given up: %v", err)
	}
	if !b.Open("kept") || b.Open("before") || b.Open("after") || b.Open("unknown") {
		t.Error("only one is open")
	}
	if s := b.Stats(); s.Voided != 1 || s.Open != 1 {
		t.Errorf("%+v", s)
	}
	if got := openIDs(t, crashed(t, b)); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("after a crash %v are open", got)
	}
}

// An event that was made stays.
func TestVoidAfterTheEvent(t *testing.T) {
	b := begin(t, Options{})
	admit(t, b, "a")
	if _, err := b.Finish("a", billing.Unsettled, []byte("event of a")); err != nil {
		t.Fatal(err)
	}
	b.Void("a")
	if s := b.Stats(); s.Ready != 1 || s.Voided != 0 || b.Open("a") {
		t.Errorf("%+v", s)
	}
}

// Before a request is given up the other record is looked at, and only then.
func TestKeeperLooksFirst(t *testing.T) {
	c := &clock{}
	b := begin(t, Options{now: c.now})
	k, ended, _ := keeper(t, b, nil)
	looks := 0
	k.opt.Look = func() {
		looks++
		if _, err := b.Finish("told", billing.Completed, []byte("event of told")); err != nil {
			t.Error(err)
		}
	}
	k.EndSilent(time.Hour)
	admit(t, b, "told", "untold")
	k.EndSilent(time.Hour)
	if looks != 0 {
		t.Error("it looked though nothing is silent")
	}
	c.forward(2 * time.Hour)
	k.EndSilent(time.Hour)
	if looks != 1 || !slices.Equal(*ended, []string{"untold"}) {
		t.Errorf("looked %d times, gave up %v", looks, *ended)
	}
}
