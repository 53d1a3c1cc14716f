package health

import (
	"fmt"
	"testing"
	"time"
)

// busy is a table of n offers, each with samples in every slot.
func busy(b testing.TB, n int) *lab {
	l := newLab(b, n/10, 10)
	for range slots {
		l.after(time.Duration(l.cfg.slot))
		for i := range n {
			for k := range 20 {
				l.apply(ok(i, time.Duration(100+k*37+i%50)*ms))
			}
		}
	}
	l.Changes(l.now)
	return l
}

// BenchmarkApply is one attempt's start and end, at offers in no order.
//
//	go test ./policy/health -run '^$' -bench Apply -cpu 1
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprintf("offers=%d", n), func(b *testing.B) {
			l := busy(b, n)
			failed := status(0, 500)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i = (i*1_664_525 + 1_013_904_223) & (1<<30 - 1)
				offer := i % n
				l.now = l.now.Add(10 * time.Microsecond)
				start := Event{Offer: offer, Outcome: Started}
				l.Apply(&start, l.now)
				ev := ok(offer, time.Duration(100+i%1000)*ms)
				if i%16 == 0 {
					ev = failed
					ev.Offer = offer
				}
				l.Apply(&ev, l.now)
			}
			b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkChanges is one publication after events at some of 10,000 offers.
//
//	go test ./policy/health -run '^$' -bench Changes -cpu 1
func BenchmarkChanges(b *testing.B) {
	for _, changed := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) {
			l := busy(b, 10_000)
			for b.Loop() {
				for i := range changed {
					l.touch(int32(i * (10_000 / changed)))
				}
				l.Changes(l.now)
			}
		})
	}
}

// BenchmarkMerge is the whole state of 10,000 offers, written and merged.
//
//	go test ./policy/health -run '^$' -bench Merge -cpu 1
func BenchmarkMerge(b *testing.B) {
	l := busy(b, 10_000)
	size := 0
	for b.Loop() {
		m, _ := l.AppendState(nil, 0, 1<<30, l.now)
		size = len(m)
		if err := New(l.cat, l.cat.Routing.Health, 2).Merge(m, l.now); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size)/10_000, "bytes/offer")
}

// TestApplyAllocates: nothing, once an offer has samples.
func TestApplyAllocates(t *testing.T) {
	l := busy(t, 10)
	ev := ok(3, 200*ms)
	if n := testing.AllocsPerRun(1000, func() { l.apply(ev).Changes(l.now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
