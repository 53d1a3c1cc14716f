package policy

import (
	"github.com/tidwall/gjson"

	"github.com/shunt-gateway/shunt/catalog"
)

// cutoffs are what a request would rather not see an offer miss:
// preferred_max_latency and preferred_min_throughput.
type cutoffs struct {
	latency, throughput cutoff
}

// cutoff is one limit per percentile: seconds to the first token at most, or
// completion tokens per second at least.
type cutoff [len(percentiles)]struct {
	set bool
	at  float64
}

var percentiles = [...]string{"p50", "p75", "p90", "p99"}

// readCutoff reads a cutoff into the place that of gives it.
func (c *controls) readCutoff(v gjson.Result, param, unit string, of func(*cutoffs) *cutoff) *Error {
	read, given, err := readCutoff(v, param, unit)
	if err != nil || !given {
		return err
	}
	if c.cutoffs == nil {
		c.cutoffs = new(cutoffs)
	}
	*of(c.cutoffs) = read
	return nil
}

// readCutoff reads a number, which is that of p50, or an object of percentiles. An
// empty one sets nothing.
func readCutoff(v gjson.Result, param, unit string) (c cutoff, given bool, err *Error) {
	number := func(v gjson.Result, param string) float64 {
		if _, ok := newLimit(v.Raw); v.Type != gjson.Number || !ok {
			err = refuse(CodeInvalidProvider, param, param+" must be a non-negative number ("+unit+")")
		}
		return v.Num
	}
	switch {
	case v.Type == gjson.Number:
		c[0].set, c[0].at = true, number(v, param)
		return c, true, err
	case !v.IsObject():
		return c, false, refuse(CodeInvalidProvider, param,
			param+" must be a non-negative number ("+unit+"), or an object with p50, p75, p90, p99")
	}
	v.ForEach(func(k, v gjson.Result) bool {
		for i, name := range percentiles {
			if k.String() != name {
				continue
			}
			if c[i].set {
				err = refuse(CodeInvalidJSON, param+"."+name, "duplicate key "+quote(name)+" in "+param)
				return false
			}
			c[i].set, c[i].at, given = true, number(v, param+"."+name), true
			return err == nil
		}
		err = unknownField(k.String(), param, percentiles[:])
		return false
	})
	return c, given, err
}

// What an offer makes of cutoffs, best first. A miss deprioritises, and excludes
// nobody.
const (
	meets   uint8 = iota
	mayMiss       // a figure is not known
	misses        // a figure is known, and worse
)

// verdict is the worst over all percentiles that are set. The configuration's
// estimates stand in for p50 alone: they say nothing of the others.
func (c *cutoffs) verdict(o *catalog.Offer, h *OfferHealth) (worst uint8) {
	ttfts, throughputs := h.TTFTs, h.Throughputs
	ttft, throughput := measured(o, h)
	if ttfts[0] <= 0 {
		ttfts[0] = ttft
	}
	if !(throughputs[0] > 0) {
		throughputs[0] = throughput
	}
	for i := range percentiles {
		if l := &c.latency[i]; l.set {
			worst = max(worst, overshoot(ttfts[i].Seconds(), l.at))
		}
		if l := &c.throughput[i]; l.set {
			worst = max(worst, shortfall(throughputs[i], l.at))
		}
	}
	return worst
}

func overshoot(figure, most float64) uint8 {
	switch {
	case figure <= 0:
		return mayMiss
	case figure <= most:
		return meets
	}
	return misses
}

func shortfall(figure, least float64) uint8 {
	switch {
	case !(figure > 0): // NaN too
		return mayMiss
	case figure >= least:
		return meets
	}
	return misses
}
