package health

import (
	"testing"
	"time"
)

var unreachable = []Event{{Outcome: ConnectFailure}, {Outcome: Timeout, Duration: 20 * time.Second}}

func at(ev Event, offer int) Event {
	ev.Offer = offer
	return ev
}

// Nobody answers: that is our own network.
func TestOwnNetwork(t *testing.T) {
	for _, ev := range unreachable {
		l := newLab(t, 1, 4)
		for range 20 {
			for i := range 4 {
				l.apply(ok(i, 300*ms))
			}
		}
		l.after(30 * time.Second)
		for range 300 {
			for i := range 4 {
				l.apply(at(ev, i))
			}
			l.after(time.Second)
		}
		for i := range 4 {
			equal(t, "phase", l.phase(i), Usable)
		}
		// It comes back: no offer has to prove itself.
		for i := range 4 {
			l.apply(ok(i, 300*ms))
			equal(t, "phase", l.phase(i), Usable)
		}
	}
}

// One of several is down: it is.
func TestOneUnreachable(t *testing.T) {
	for _, ev := range unreachable {
		for _, providers := range []int{1, 2, 3, 10} {
			l := newLab(t, 1, providers)
			for range 5 {
				for i := range providers {
					l.apply(ok(i, 300*ms))
				}
			}
			for range 5 {
				l.after(time.Second).apply(at(ev, 0))
				for i := 1; i < providers; i++ {
					l.apply(ok(i, 300*ms))
				}
			}
			equal(t, "phase of the one", l.phase(0), Cooling)
			for i := 1; i < providers; i++ {
				equal(t, "phase of another", l.phase(i), Usable)
			}
		}
	}
}

// Most are down at the same time, but somebody answers all the while: after half a
// minute it is theirs.
func TestMostUnreachable(t *testing.T) {
	l := newLab(t, 1, 3)
	round := func() {
		l.after(time.Second).apply(at(unreachable[0], 0)).apply(at(unreachable[0], 1)).apply(ok(2, 300*ms))
	}
	for range 25 {
		round()
	}
	equal(t, "phase", l.phase(0), Usable)
	for range 15 {
		round()
	}
	equal(t, "phase after a while", l.phase(0), Cooling)
	equal(t, "phase of the other", l.phase(1), Cooling)
	equal(t, "phase of who answers", l.phase(2), Usable)
}

// The offers of one model fail, providers of others do not: still most of a circle.
func TestModelUnreachable(t *testing.T) {
	l := newLab(t, 2, 3)
	for range 20 {
		l.after(time.Second)
		for i := range 3 {
			l.apply(at(unreachable[1], i)).apply(ok(3+i, 300*ms)).apply(ok(3+i, 300*ms))
		}
	}
	for i := range 3 {
		equal(t, "phase", l.phase(i), Usable)
	}
}

// An answer, whatever its status, came over the network: 500s of all are theirs.
func TestServerErrorsAreTheirs(t *testing.T) {
	l := newLab(t, 1, 3)
	for range 5 {
		for i := range 3 {
			l.apply(status(i, 500))
		}
		l.after(time.Second)
	}
	for i := range 3 {
		equal(t, "phase", l.phase(i), Cooling)
	}
}

// What was long ago is no evidence, and a provider without company is not excused.
func TestNoEvidence(t *testing.T) {
	l := newLab(t, 1, 2)
	l.apply(at(unreachable[0], 1)).after(time.Minute)
	equal(t, "phase", l.lasting(5, at(unreachable[0], 0)).phase(0), Cooling)
}
