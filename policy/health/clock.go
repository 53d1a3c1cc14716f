package health

import (
	"encoding/binary"
	"time"
)

// Messages carry times of the clock of who sent them, and what that clock says. What is
// off by more than a message takes on its way is taken for a wrong clock, and evened
// out; what is off by more than any clock should be is taken for a message that is late,
// and its times for right. So a message that is between the two late makes deadlines that
// much longer, and no others.
const (
	sameClock = 5 * time.Second
	mostSkew  = 2 * time.Minute
)

// skewOf is how far the sender's clock is ahead of this one.
func skewOf(stamp, now int64) int64 {
	skew := stamp - now
	if skew > int64(mostSkew) || skew < -int64(mostSkew) || skew <= int64(sameClock) && skew >= -int64(sameClock) {
		return 0
	}
	return skew
}

// shifted is a record by a clock that is behind that of its sender by skew. Slots are
// shifted by whole ones.
func shifted(record []byte, skew, slot int64) []byte {
	s := shifter{r: reader{b: record}, ms: -skew / int64(time.Millisecond), b: make([]byte, 0, len(record)+8)}
	half := slot / 2
	if skew < 0 {
		half = -half
	}
	s.epochs = -(skew + half) / slot
	s.time()
	for range 2 {
		for range s.copy() {
			s.put(uint64(max(int64(s.r.uint(1<<32-1))+s.epochs, 0)))
			for range s.copy() {
				s.copy() // where the bucket is
				s.copy() // what is in it
			}
		}
		for range metrics {
			came := s.copy()
			if came > 0 {
				s.time()
			}
			for range min(came, lastKept) {
				s.copy()
			}
		}
	}
	return s.b
}

// shifter copies a record that visit has found good.
type shifter struct {
	r          reader
	b          []byte
	ms, epochs int64
}

func (s *shifter) put(x uint64) { s.b = binary.AppendUvarint(s.b, x) }

func (s *shifter) copy() uint64 {
	x := s.r.uint(1<<64 - 1)
	s.put(x)
	return x
}

// time copies a time; 0 is none.
func (s *shifter) time() {
	x := int64(s.r.uint(farFuture))
	if x > 0 {
		x = max(x+s.ms, 1)
	}
	s.put(uint64(min(x, farFuture)))
}
