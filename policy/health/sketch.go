package health

import "math/bits"

// Samples are counted in buckets whose width grows with the value: each factor of
// two is parted into 16 of equal width. A bucket's value is the harmonic mean of its
// bounds, which no value in it is further from than 1/33 of itself. So that is the
// error of a percentile: see MaxError.
const (
	subBits = 4
	subs    = 1 << subBits
)

// MaxError bounds the relative error of a percentile of TTFTs from 1.1 ms to 260 s,
// and of throughputs from 0.5 to 8,000 tokens per second, against the exact one over
// the same samples. What is outside counts as the nearest that is inside.
const MaxError = 1.0 / (2*subs + 1)

// scale is one metric's part of the buckets.
type scale struct {
	unit  float64 // what is counted per unit of the metric: microseconds per second
	low   int     // buckets begin at 1<<low
	first int     // index of the first bucket
	n     int
}

const (
	ttft = iota // in microseconds: 2^10 (1 ms) to 2^28 (268 s)
	rate        // in 1/1024 tokens per second: 2^9 (0.5) to 2^23 (8192)
	metrics

	ttftBuckets = 18 * subs
	rateBuckets = 14 * subs
	buckets     = ttftBuckets + rateBuckets
)

var scales = [metrics]scale{
	ttft: {unit: 1e6, low: 10, first: 0, n: ttftBuckets},
	rate: {unit: 1024, low: 9, first: ttftBuckets, n: rateBuckets},
}

// index returns the bucket of a positive value in units of the metric.
func (s *scale) index(x float64) int {
	v := uint64(1)
	switch x *= s.unit; {
	case x >= 1<<40:
		v = 1 << 40
	case x > 1: // false for NaN too
		v = uint64(x)
	}
	e := bits.Len64(v) - 1
	if e < s.low {
		return s.first
	}
	sub := int(v>>(e-subBits)) & (subs - 1)
	return s.first + min((e-s.low)<<subBits+sub, s.n-1)
}

// value returns what bucket i stands for.
func (s *scale) value(i int) float64 {
	i -= s.first
	octave, sub := i>>subBits, i&(subs-1)
	lower := float64(uint64(subs+sub) << (s.low + octave - subBits))
	upper := float64(uint64(subs+sub+1) << (s.low + octave - subBits))
	return 2 * lower * upper / (lower + upper) / s.unit
}

// sums are samples by bucket, weighted, of any number of slots.
type sums struct {
	counts [buckets]uint32
	weight [metrics]uint64 // of all counts
	n      [metrics]uint32 // samples, without weights
}

// Quantiles are those that preferences may name: p50, p75, p90, p99.
const Quantiles = 4

var perMille = [Quantiles]uint64{500, 750, 900, 990}

// quantiles returns the values that 50, 75, 90 and 99 of 100 samples are at least as
// good as: as low as, for TTFT; as high as, for throughput. There must be a sample.
// It is the nearest rank: a sample's bucket, not something between two.
func (a *sums) quantiles(m int) (q [Quantiles]float64) {
	s := &scales[m]
	i, step := s.first, 1
	if m == rate {
		i, step = s.first+s.n-1, -1
	}
	below := uint64(0)
	for k, p := range perMille {
		target := (a.weight[m]*p + 999) / 1000
		for below+uint64(a.counts[i]) < target {
			below += uint64(a.counts[i])
			i += step
		}
		q[k] = s.value(i)
	}
	return q
}

func (a *sums) add(i int, n, weight uint32) {
	m := ttft
	if i >= ttftBuckets {
		m = rate
	}
	a.counts[i] += n * weight
	a.weight[m] += uint64(n) * uint64(weight)
	a.n[m] += n
}

// clear forgets one metric.
func (a *sums) clear(m int) {
	s := &scales[m]
	clear(a.counts[s.first : s.first+s.n])
	a.weight[m], a.n[m] = 0, 0
}
