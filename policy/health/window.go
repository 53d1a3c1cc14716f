package health

// slots is how many parts a window has. They turn over one by one, so the window
// covers the last three to four of them.
const slots = 4

// ageWeight is what a sample counts by the age of its slot: figures follow a change
// within about one slot, and are steady as long as nothing changes.
var ageWeight = [slots]uint32{8, 4, 2, 1}

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

const noRate = 1<<16 - 1

// window holds the samples of one kind of answer.
type window struct {
	slots [slots]slot
	// last are the newest samples whatever their age: buckets of both metrics, noRate
	// for none.
	last   [lastKept][metrics]uint16
	kept   uint8 // how many there are
	next   uint8 // where the next one goes
	lastAt int64 // when the newest came, in ns
}

// sample counts an answer; r < 0: without a throughput.
func (w *window) sample(t, r float64, epoch uint32, now int64) {
	s := &w.slots[epoch%slots]
	if s.epoch != epoch || s.n == [metrics]uint32{} {
		s.restart(epoch)
	}
	i := scales[ttft].index(t)
	s.add(ttft, i)
	kept := [metrics]uint16{uint16(i), noRate}
	if r >= 0 {
		i = scales[rate].index(r)
		s.add(rate, i)
		kept[rate] = uint16(i)
	}
	w.last[w.next] = kept
	w.next = (w.next + 1) % lastKept
	w.kept = min(w.kept+1, lastKept)
	w.lastAt = now
}

// sum adds the slots that are young enough.
func (w *window) sum(a *sums, epoch uint32) {
	for k := range w.slots {
		s := &w.slots[k]
		age := epoch - s.epoch
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

// sumLast adds the newest samples of one metric.
func (w *window) sumLast(a *sums, m int) {
	for _, kept := range w.last[:w.kept] {
		if kept[m] != noRate {
			a.add(int(kept[m]), 1, 1)
		}
	}
}
