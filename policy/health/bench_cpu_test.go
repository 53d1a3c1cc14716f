//go:build unix

package health

import (
	"syscall"
	"testing"
	"time"
)

// cpu is how long this process has computed.
func cpu(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkReducer is events a second of one core's time, whatever else the machine
// does: starts and ends at 10,000 offers in no order, one end in 16 a failure, and a
// publication every 50 ms of the events' time.
//
//	go test ./policy/health -run '^$' -bench Reducer -cpu 1
func BenchmarkReducer(b *testing.B) {
	const offers, perSecond = 10_000, 100_000
	l := busy(b, offers)
	failed := status(0, 500)
	events, i := 0, 0
	before := cpu(b)
	for b.Loop() {
		i = (i*1_664_525 + 1_013_904_223) & (1<<30 - 1)
		start := Event{Offer: i % offers, Outcome: Started}
		l.Apply(&start, l.now)
		ev := ok(i%offers, time.Duration(100+i%1000)*ms)
		if i%16 == 0 {
			ev = failed
			ev.Offer = i % offers
		}
		l.Apply(&ev, l.now)
		l.now = l.now.Add(2 * time.Second / perSecond)
		if events += 2; events%(perSecond/20) == 0 {
			l.Changes(l.now)
		}
	}
	b.ReportMetric(float64(events)/(cpu(b)-before).Seconds(), "events/cpu-s")
}
