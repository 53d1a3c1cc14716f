package health

import "math"

// slots is how many parts a window has. They turn over one by one, so the window
// covers the last three to four of them.
const slots = 4

// ageWeight is what a sample counts by the age of its slot: figures follow a change
// within about one slot, and are steady as long as nothing changes.
var ageWeight = [slots]uint32{8, 4, 2, 1}

// age is how many slots ago epoch e was. One that is about to come is now: clocks are
// not quite the same.
func age(epoch, e uint32) uint32 {
	if e == epoch+1 {
		return 0
	}
	return epoch - e
}

// slot holds the samples of one part of time.
type slot struct {
	epoch  uint32          // which part, counted from 1970
	n      [metrics]uint32 // samples
	lo, hi [metrics]uint16 // the buckets in use: lo <= i < hi
	counts [buckets]uint16
}

func (s *slot) restart(epoch uint32) { *s = slot{epoch: epoch, lo: [metrics]uint16{buckets, buckets}} }

func (s *slot) add(m, i int) {
	if s.counts[i] == 1<<16-1 {
		s.halve()
	}
	s.counts[i]++
	s.n[m]++
	s.lo[m], s.hi[m] = min(s.lo[m], uint16(i)), max(s.hi[m], uint16(i+1))
}

// halve makes room: the shape stays, and it is that of 65,536 samples in one bucket.
func (s *slot) halve() {
	s.n = [metrics]uint32{}
	for i := range s.counts {
		s.counts[i] = (s.counts[i] + 1) / 2
		m := ttft
		if i >= ttftBuckets {
			m = rate
		}
		s.n[m] += uint32(s.counts[i])
	}
}

// lastKept is how many samples are kept for offers that get few requests: their
// figures rest on these when the window has too few.
const lastKept = 16

// recent are the newest samples of one metric, whatever their age.
type recent struct {
	ring [lastKept]uint16 // their buckets
	next uint8            // where the next one goes
	came uint16           // how many came, none of them a day after the one before
	at   int64            // when the newest came, in ns
}

func (r *recent) add(i int, now int64) {
	if now-r.at >= remembered {
		*r = recent{}
	}
	r.ring[r.next] = uint16(i)
	r.next = (r.next + 1) % lastKept
	if r.came < math.MaxUint16 {
		r.came++
	}
	r.at = now
}

// kept are the buckets that are still there.
func (r *recent) kept() []uint16 { return r.ring[:min(r.came, lastKept)] }

// count is how many came, 0 when that was too long ago.
func (r *recent) count(now int64) uint32 {
	if now-r.at >= remembered {
		return 0
	}
	return uint32(r.came)
}

func (r *recent) sum(a *sums, now int64) {
	if now-r.at < remembered {
		for _, i := range r.kept() {
			a.add(int(i), 1, 1)
		}
	}
}

// window holds the samples of one kind of answer.
type window struct {
	slots [slots]slot
	last  [metrics]recent
}

// sample counts an answer; r < 0: without a throughput.
func (w *window) sample(t, r float64, epoch uint32, now int64) {
	s := &w.slots[epoch%slots]
	if s.epoch != epoch || s.n == [metrics]uint32{} {
		s.restart(epoch)
	}
	w.count(s, ttft, t, now)
	if r >= 0 {
		w.count(s, rate, r, now)
	}
}

func (w *window) count(s *slot, m int, x float64, now int64) {
	i := scales[m].index(x)
	s.add(m, i)
	w.last[m].add(i, now)
}

// sum adds the slots that are young enough.
func (w *window) sum(a *sums, epoch uint32) {
	for k := range w.slots {
		s := &w.slots[k]
		age := age(epoch, s.epoch)
		if age >= slots || s.n[ttft]+s.n[rate] == 0 {
			continue
		}
		for m := range metrics {
			for i := int(s.lo[m]); i < int(s.hi[m]); i++ {
				if n := s.counts[i]; n > 0 {
					a.counts[i] += uint32(n) * ageWeight[age]
				}
			}
			a.weight[m] += uint64(s.n[m]) * uint64(ageWeight[age])
			a.n[m] += s.n[m]
		}
	}
}
