package health

import (
	"encoding/binary"
	"math"
	"time"
)

// A record is what one instance knows of one offer, at one version. All numbers are
// uvarints.
//
//	shared deadline in ms since 1970, 0: none
//	streamed, whole answers, each:
//	  number of slots, each:
//	    epoch, number of buckets in use, each:
//	      index, as the distance from the one before + 1; samples
//	  TTFT, throughput, each:
//	    how many samples came; if any, when the newest did, in ms; the last 16 of them, each:
//	      bucket, as the distance from the metric's first one
//
// It is parsed where it is used: the sums of an offer are made seldom, and a record
// is a tenth of the tables it stands for.

// maxRecord bounds a record in bytes. The largest that a table writes has 13,000.
const maxRecord = 16 << 10

func (o *offer) appendRecord(b []byte) []byte {
	b = binary.AppendUvarint(b, millis(o.sharedTill))
	for _, w := range o.windows {
		b = w.append(b)
	}
	return b
}

func millis(ns int64) uint64 { return uint64(max(ns, 0)) / uint64(time.Millisecond) }

func (w *window) append(b []byte) []byte {
	if w == nil {
		return append(b, 0, 0, 0)
	}
	n := 0
	for k := range w.slots {
		if w.slots[k].n != [metrics]uint32{} {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for k := range w.slots {
		if w.slots[k].n != [metrics]uint32{} {
			b = w.slots[k].append(b)
		}
	}
	for m := range w.last {
		b = w.last[m].append(b, m)
	}
	return b
}

func (r *recent) append(b []byte, m int) []byte {
	b = binary.AppendUvarint(b, uint64(r.came))
	if r.came > 0 {
		b = binary.AppendUvarint(b, millis(r.at))
	}
	for _, i := range r.kept() {
		b = binary.AppendUvarint(b, uint64(int(i)-scales[m].first))
	}
	return b
}

func (s *slot) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(s.epoch))
	n := 0
	for _, c := range s.counts {
		if c > 0 {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	before := -1
	for i, c := range s.counts {
		if c > 0 {
			b = binary.AppendUvarint(b, uint64(i-before))
			b = binary.AppendUvarint(b, uint64(c))
			before = i
		}
	}
	return b
}

// reader reads uvarints. After a fault it reads zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint(limit uint64) uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 || x > limit {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) fixed() uint64 {
	if len(r.b) < 8 {
		r.b, r.bad = nil, true
		return 0
	}
	x := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return x
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	x := r.b[:n]
	r.b = r.b[n:]
	return x
}

// visitor is told what is in a record. Functions may be nil.
type visitor struct {
	sample func(kind int, epoch uint32, bucket int, n uint32)
	came   func(kind, metric int, n uint32, at int64)
	last   func(kind, metric int, at int64, bucket int)
}

// farFuture bounds what stands for a time, in ms: the year 2255.
const farFuture = 9_000_000_000_000

// visit reads a record; ok is false if it is not one.
func visit(record []byte, v visitor) (till int64, ok bool) {
	r := reader{b: record}
	till = int64(r.uint(farFuture)) * int64(time.Millisecond)
	for kind := range 2 {
		for range r.uint(slots) {
			epoch := uint32(r.uint(1<<32 - 1))
			i := -1
			for range r.uint(buckets) {
				step := int(r.uint(buckets))
				n := uint32(r.uint(1<<16 - 1))
				if i += step; r.bad || step == 0 || i >= buckets {
					return 0, false
				}
				if v.sample != nil {
					v.sample(kind, epoch, i, n)
				}
			}
		}
		for metric := range metrics {
			r.recent(kind, metric, &v)
		}
	}
	return till, !r.bad && len(r.b) == 0
}

func (r *reader) recent(kind, metric int, v *visitor) {
	came, at := r.uint(math.MaxUint16), int64(0)
	if came == 0 {
		return
	}
	at = int64(r.uint(farFuture)) * int64(time.Millisecond)
	if v.came != nil {
		v.came(kind, metric, uint32(came), at)
	}
	s := &scales[metric]
	for range min(came, lastKept) {
		i := s.first + int(r.uint(uint64(s.n-1)))
		if v.last != nil {
			v.last(kind, metric, at, i)
		}
	}
}

// remote is what another instance knows of an offer.
type remote struct {
	instance, version uint64
	skew              int64 // of the clock of who sent it, evened out in record
	record            []byte
}

func (r *remote) sum(a *sums, kind int, epoch uint32) {
	visit(r.record, visitor{sample: func(k int, e uint32, i int, n uint32) {
		if age := age(epoch, e); k == kind && age < slots {
			a.add(i, n, ageWeight[age])
		}
	}})
}

func (r *remote) came(kind, metric int, now int64) (n uint32) {
	visit(r.record, visitor{came: func(k, m int, came uint32, at int64) {
		if k == kind && m == metric && now-at < remembered {
			n = came
		}
	}})
	return n
}

func (r *remote) sumLast(a *sums, kind, metric int, now int64) {
	visit(r.record, visitor{last: func(k, m int, at int64, i int) {
		if k == kind && m == metric && now-at < remembered {
			a.add(i, 1, 1)
		}
	}})
}

// over: nothing in it counts any more.
func (r *remote) over(epoch uint32, now int64) bool {
	counts := false
	till, _ := visit(r.record, visitor{
		sample: func(_ int, e uint32, _ int, _ uint32) { counts = counts || int32(epoch-e) < slots },
		came:   func(_, _ int, _ uint32, at int64) { counts = counts || now-at < remembered },
	})
	return !counts && till <= now
}
