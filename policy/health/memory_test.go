package health

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

// Memory per offer is constant: nothing that happens to an offer that has answered in
// both ways allocates, be it for days, and its parts have the sizes that docs/health.md
// tells.
func TestMemoryIsConstant(t *testing.T) {
	l := newLab(t, 2, 3)
	for i := range l.offers {
		l.apply(ok(i, 300*ms)).apply(Event{Offer: i, Outcome: OK, Status: 200, TTFT: sec, Duration: sec, Tokens: 100})
	}
	l.Changes(l.now)
	l.AppendDelta(nil, 1<<20, l.now)
	rnd := rand.New(rand.NewPCG(1, 1))
	outcomes := []Outcome{Unknown, Started, OK, OK, OK, Status, Status, Timeout, Reset, ConnectFailure}
	statuses := []int{200, 400, 401, 404, 408, 429, 500, 503}
	delta := make([]byte, 0, 1<<20)
	if n := testing.AllocsPerRun(50_000, func() {
		ev := Event{
			Offer: rnd.IntN(len(l.offers)), Outcome: outcomes[rnd.IntN(len(outcomes))], Status: statuses[rnd.IntN(len(statuses))],
			Started: l.now.Add(-time.Duration(rnd.Int64N(int64(mnt)))), RetryAfter: time.Duration(rnd.Int64N(int64(mnt))),
			TTFT: time.Duration(rnd.Int64N(int64(5 * sec))), Duration: time.Duration(rnd.Int64N(int64(mnt))),
			Tokens: rnd.Int64N(2000), Stream: rnd.IntN(2) == 0,
		}
		l.after(time.Duration(rnd.Int64N(int64(10*sec)))).Apply(&ev, l.now)
		l.Changes(l.now)
	}); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
	delta = l.AppendDelta(delta, 1<<20, l.now)
	if most := len(l.offers) * maxRecord; len(delta) > most {
		t.Errorf("what others are told has %d bytes, at most %d may be", len(delta), most)
	}
	if n := unsafe.Sizeof(offer{}) + unsafe.Sizeof(Figures{}) + unsafe.Sizeof(Change{}); n > 900 {
		t.Errorf("an offer takes %d bytes", n)
	}
	if n := unsafe.Sizeof(window{}); n > 4400 {
		t.Errorf("the samples of one kind of answer take %d bytes", n)
	}
	t.Logf("an offer: %d bytes; its figures: %d; samples of one kind of answer: %d", unsafe.Sizeof(offer{}), unsafe.Sizeof(Figures{}), unsafe.Sizeof(window{}))
}
