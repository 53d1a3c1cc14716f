package health

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ms = time.Millisecond

func TestFigures(t *testing.T) {
	l := newLab(t, 1, 2)
	if f := l.of(0); f.TTFT != 0 || f.Throughput != 0 || !f.Stale {
		t.Errorf("nothing was measured: %+v", f)
	}
	for i := range 100 {
		l.apply(ok(0, time.Duration(i+1)*10*ms))
	}
	f := l.of(0)
	for k, want := range [...]time.Duration{500 * ms, 750 * ms, 900 * ms, 990 * ms} {
		near(t, "ttft", f.TTFTs[k].Seconds(), want.Seconds(), MaxError)
		near(t, "throughput", f.Throughputs[k], 50, MaxError)
	}
	near(t, "ttft", f.TTFT.Seconds(), 0.5, MaxError)
	near(t, "throughput", f.Throughput, 50, MaxError)
	if f.Stale {
		t.Error("100 samples are too few")
	}
	if f := l.of(1); f.TTFT != 0 || !f.Stale {
		t.Errorf("the other offer: %+v", f)
	}
}

// The higher percentiles of throughput are the lower ones: what 90 of 100 answers
// were at least as fast as.
func TestThroughputPercentiles(t *testing.T) {
	l := newLab(t, 1, 1)
	for i := range 100 {
		ev := ok(0, 100*ms)
		ev.Tokens, ev.Duration = int64(i+1)*20, 1100*ms // 20, 40, … 2000 a second
		l.apply(ev)
	}
	for k, want := range [...]float64{1020, 520, 220, 40} {
		near(t, "throughput", l.of(0).Throughputs[k], want, MaxError)
	}
}

// Estimates stand until there are min_samples.
func TestTooFewSamples(t *testing.T) {
	l := newLab(t, 1, 1)
	l.times(9, ok(0, 300*ms))
	equal(t, "ttft after 9", l.of(0).TTFT, 0)
	l.apply(ok(0, 300*ms))
	near(t, "ttft after 10", l.of(0).TTFT.Seconds(), 0.3, MaxError)
}

func TestSmallAnswersHaveNoThroughput(t *testing.T) {
	l := newLab(t, 1, 1)
	ev := ok(0, 300*ms)
	ev.Tokens = fewTokens - 1
	l.times(20, ev)
	if f := l.of(0); f.TTFT == 0 || f.Throughput != 0 {
		t.Errorf("%+v", f)
	}
}

// A stream that comes all at once was held back somewhere: it is as fast as the whole
// of it.
func TestStreamsHeldBack(t *testing.T) {
	l := newLab(t, 1, 1)
	l.times(20, Event{Outcome: OK, Status: 200, Stream: true, TTFT: 4990 * ms, Duration: 5 * sec, Tokens: 500})
	near(t, "throughput", l.of(0).Throughput, 100, MaxError)
}

// min_samples holds whatever it is: also where it is more than the samples that are
// kept of offers that get few requests.
func TestMinSamples(t *testing.T) {
	for _, n := range []int{1, 2, lastKept - 1, lastKept, lastKept + 1, 50, 500, 1000} {
		l := newLab(t, 1, 1, fmt.Sprintf("routing: {health: {min_samples: %d}}\n", n))
		l.times(n-1, ok(0, 300*ms))
		equal(t, fmt.Sprintf("ttft after %d of %d", n-1, n), l.of(0).TTFT, 0)
		equal(t, "throughput", l.of(0).Throughput, 0)
		f := l.apply(ok(0, 300*ms)).of(0)
		near(t, fmt.Sprintf("ttft after %d", n), f.TTFT.Seconds(), 0.3, MaxError)
		near(t, fmt.Sprintf("throughput after %d", n), f.Throughput, 50, MaxError)
		equal(t, "stale", f.Stale, false)
		if n > 1 {
			// A window later there are too few again, and the last ones stand in.
			f = l.after(5 * mnt).apply(ok(0, 300*ms)).of(0)
			near(t, "ttft after a window", f.TTFT.Seconds(), 0.3, MaxError)
			equal(t, "stale", f.Stale, true)
		}
		equal(t, "a day later", l.after(25*time.Hour).of(0).TTFT, 0)
		equal(t, "one sample more", l.apply(ok(0, 300*ms)).of(0).TTFT > 0, n == 1)
	}
}

// Answers that are too short for a throughput leave those of others where they are.
func TestMinSamplesOfThroughput(t *testing.T) {
	l := newLab(t, 1, 1, "routing: {health: {min_samples: 40}}\n")
	short := ok(0, 300*ms)
	short.Tokens = 1
	l.times(39, ok(0, 300*ms)).times(100, short)
	equal(t, "throughput of 39", l.of(0).Throughput, 0)
	near(t, "ttft of 139", l.of(0).TTFT.Seconds(), 0.3, MaxError)
	near(t, "throughput of 40", l.apply(ok(0, 300*ms)).of(0).Throughput, 50, MaxError)
	near(t, "throughput after a window", l.after(6*mnt).times(3, short).of(0).Throughput, 50, MaxError)
}

// What other instances measured counts towards min_samples, and a newcomer starts
// from all of it.
func TestMinSamplesOfSeveral(t *testing.T) {
	const more = "routing: {health: {min_samples: 100}}\n"
	here := newLab(t, 1, 1, more)
	here.times(40, ok(0, 300*ms))
	for i, n := range []int{40, 19, 1} {
		other := New(here.cat, here.cat.Routing.Health, uint64(i)+2)
		for range n {
			ev := ok(0, 300*ms)
			other.Apply(&ev, here.now)
		}
		equal(t, "ttft of too few", here.of(0).TTFT, 0)
		mustMerge(t, here.Table, here.now, other.AppendDelta(nil, 1<<20, here.now))
	}
	near(t, "ttft of 100", here.of(0).TTFT.Seconds(), 0.3, MaxError)

	fresh := &lab{Table: New(here.cat, here.cat.Routing.Health, 9), now: here.now.Add(6 * mnt), seen: make([]Figures, 1)}
	m, _ := here.AppendState(nil, 0, 1<<20, fresh.now)
	mustMerge(t, fresh.Table, fresh.now, m)
	near(t, "ttft at a newcomer, a window later", fresh.of(0).TTFT.Seconds(), 0.3, MaxError)
}

// A whole answer says when it was complete; as soon as answers are streamed, figures
// are those of streams.
func TestWholeAnswers(t *testing.T) {
	l := newLab(t, 1, 2)
	answer := Event{Offer: 0, Outcome: OK, Status: 200, TTFT: 5 * time.Second, Duration: 5 * time.Second, Tokens: 500}
	l.times(20, answer)
	f := l.of(0)
	near(t, "ttft", f.TTFT.Seconds(), 5, MaxError)
	near(t, "throughput", f.Throughput, 100, MaxError)
	equal(t, "stale", f.Stale, false)

	l.times(20, ok(1, 200*ms))
	f = l.of(0)
	near(t, "ttft while others stream", f.TTFT.Seconds(), 5, MaxError)
	equal(t, "stale while others stream", f.Stale, true)

	l.times(20, ok(0, 300*ms))
	near(t, "ttft of streams", l.of(0).TTFT.Seconds(), 0.3, MaxError)
}

// Figures follow a change within about a slot, a quarter of the window.
func TestShift(t *testing.T) {
	l := newLab(t, 1, 1)
	for range 300 {
		l.after(time.Second).times(5, ok(0, 300*ms))
	}
	near(t, "before", l.of(0).TTFT.Seconds(), 0.3, MaxError)
	took := 0
	for ; l.of(0).TTFT < time.Second && took < 300; took++ {
		l.after(time.Second).times(5, ok(0, 1500*ms))
	}
	if took < 10 || took > 80 {
		t.Errorf("the median followed after %d s, want less than 80", took)
	}
}

// Without new samples the last ones stand, and the offer is to be explored.
func TestRemembered(t *testing.T) {
	l := newLab(t, 1, 1)
	l.times(100, ok(0, 300*ms))
	l.of(0)
	f := l.after(5 * time.Minute).of(0)
	near(t, "ttft after the window", f.TTFT.Seconds(), 0.3, MaxError)
	equal(t, "stale", f.Stale, true)

	// One sample a while, never enough in the window: the last 16 count.
	for range lastKept {
		l.after(3 * time.Minute).apply(ok(0, 900*ms))
	}
	near(t, "ttft of the last", l.of(0).TTFT.Seconds(), 0.9, MaxError)
	equal(t, "forgotten", l.after(25*time.Hour).of(0).TTFT, 0)
}

// The ranking's figure stands still while the measured one moves a little.
func TestSteady(t *testing.T) {
	l := newLab(t, 1, 1)
	l.times(1000, ok(0, 1000*ms))
	first := l.of(0).TTFT
	l.times(5000, ok(0, 1070*ms))
	f := l.of(0)
	equal(t, "ttft", f.TTFT, first)
	near(t, "p50", f.TTFTs[0].Seconds(), 1.07, MaxError)
	l.times(50_000, ok(0, 1300*ms))
	near(t, "moved", l.of(0).TTFT.Seconds(), 1.3, MaxError)
}

// A slot that is full keeps its shape.
func TestFullSlot(t *testing.T) {
	l := newLab(t, 1, 1)
	for i := range 400_000 {
		l.apply(ok(0, [...]time.Duration{100 * ms, 100 * ms, 100 * ms, 800 * ms}[i%4]))
	}
	f := l.of(0)
	near(t, "p50", f.TTFTs[0].Seconds(), 0.1, MaxError)
	near(t, "p90", f.TTFTs[2].Seconds(), 0.8, MaxError)
}

// Figures that nobody could have measured do no harm.
func TestOddEvents(t *testing.T) {
	l := newLab(t, 1, 1)
	for _, ev := range []Event{
		{Offer: -1, Outcome: OK}, {Offer: 1, Outcome: OK}, {Outcome: 99}, {Outcome: OK},
		{Outcome: OK, TTFT: -5, Duration: -5, Tokens: -5}, {Outcome: OK, TTFT: 1, Duration: math.MaxInt64, Tokens: math.MaxInt64},
		{Outcome: OK, Stream: true, TTFT: math.MaxInt64, Duration: 1, Tokens: math.MaxInt64},
		{Outcome: OK, Stream: true, TTFT: 1, Duration: 1, Tokens: 1 << 40},
		{Outcome: Status, Status: -7}, {Outcome: Status, Status: 429, RetryAfter: math.MaxInt64},
		{Outcome: Started, Started: noon.Add(-100 * time.Hour)}, {Outcome: OK, Started: noon.Add(100 * time.Hour)},
	} {
		l.times(20, ev)
	}
	if left := l.left(0); left > 5*time.Minute {
		t.Errorf("cools for %v", left)
	}
}

// exact is what a percentile must come to: the nearest rank over the weighted
// samples, best first.
func exact(xs []float64, weights []uint32, perMille uint64) float64 {
	order := make([]int, len(xs))
	total := uint64(0)
	for i := range order {
		order[i] = i
		total += uint64(weights[i])
	}
	slices.SortFunc(order, func(a, b int) int {
		if xs[a] < xs[b] {
			return -1
		}
		return 1
	})
	sum := uint64(0)
	for _, i := range order {
		if sum += uint64(weights[i]); sum*1000 >= total*perMille {
			return xs[i]
		}
	}
	panic("no samples")
}

// TestPercentilesAreExact: within MaxError of the exact ones over the same samples,
// each with the weight of its age.
//
//	go test ./policy/health -run TestPercentilesAreExact -rapid.checks 20000
func TestPercentilesAreExact(t *testing.T) {
	one := market(t, 1, 1)
	rapid.Check(t, func(t *rapid.T) {
		l := &lab{Table: New(one, one.Routing.Health, 1), now: noon, seen: make([]Figures, 1)}
		slotLength := time.Duration(l.cfg.slot)
		var ttfts, rates []float64
		var epochs []uint32
		n := rapid.IntRange(10, 120).Draw(t, "samples")
		steps := rapid.SampledFrom([]time.Duration{0, time.Second, slotLength / 10, slotLength / 3}).Draw(t, "step")
		for range n {
			l.after(time.Duration(rapid.Int64Range(0, int64(steps)).Draw(t, "after")))
			first := time.Duration(math.Exp(rapid.Float64Range(math.Log(0.0011), math.Log(260)).Draw(t, "ttft")) * 1e9)
			tps := math.Exp(rapid.Float64Range(math.Log(0.5), math.Log(8000)).Draw(t, "rate"))
			span := time.Duration(float64(time.Second) * max(1, 16/tps, 100/tps))
			tokens := int64(math.Round(tps * span.Seconds()))
			l.apply(Event{Outcome: OK, Status: 200, Stream: true, TTFT: first, Duration: first + span, Tokens: tokens})
			ttfts = append(ttfts, first.Seconds())
			rates = append(rates, -float64(tokens)/span.Seconds()) // the best first
			epochs = append(epochs, l.cfg.epoch(l.now.UnixNano()))
		}
		var xs, ys []float64
		var weights []uint32
		for i, e := range epochs {
			if age := l.cfg.epoch(l.now.UnixNano()) - e; age < slots {
				xs, ys, weights = append(xs, ttfts[i]), append(ys, rates[i]), append(weights, ageWeight[age])
			}
		}
		if len(xs) < l.cfg.MinSamples {
			return // the last samples count then
		}
		f := l.of(0)
		for k, p := range perMille {
			within(t, "ttft", f.TTFTs[k].Seconds(), exact(xs, weights, p))
			within(t, "throughput", f.Throughputs[k], -exact(ys, weights, p))
		}
	})
}

func within(t *rapid.T, what string, got, want float64) {
	if math.Abs(got-want) > want*(MaxError+1e-6) {
		t.Fatalf("%s: %v, exactly %v: %.2f %% off, at most %.2f %% are allowed", what, got, want, 100*math.Abs(got/want-1), 100*MaxError)
	}
}
