package extproc

import (
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/policy"
)

// limits are the times that a client gives a request. Zero: it gives none.
type limits struct {
	firstByte time.Duration // of each attempt
	request   time.Duration // to the first byte of an answer
}

// longestLimit is more than anybody waits, and keeps sums of waits from overflowing.
const longestLimit = 24 * time.Hour

// readLimits reads what means something under r: without a deadline to shorten,
// X-Request-Timeout is some other program's header.
func readLimits(h *headers, r *catalog.Routing) (l limits, refusal *policy.Error) {
	if l.firstByte, refusal = readLimit("X-First-Byte-Timeout", h.firstByte); refusal != nil || r.Deadline == 0 {
		return l, refusal
	}
	l.request, refusal = readLimit("X-Request-Timeout", h.timeout)
	return l, refusal
}

func readLimit(name string, values []string) (time.Duration, *policy.Error) {
	if len(values) == 0 {
		return 0, nil
	}
	wrong := func(message string) (time.Duration, *policy.Error) {
		return 0, &policy.Error{Status: 400, Code: policy.CodeInvalidParameter, Param: name, Message: message}
	}
	if len(values) > 1 {
		return wrong(name + " was sent more than once")
	}
	t, err := time.ParseDuration(values[0])
	if err != nil || t < time.Millisecond || t > longestLimit {
		return wrong(name + " must be a duration such as 800ms or 20s, at least 1ms and at most 24h")
	}
	return t, nil
}

// deadline is how long a request may take to its first byte: as configured, or less if
// the client says so. 0: as long as its attempts take.
func deadline(l limits, r *catalog.Routing) time.Duration {
	if r.Deadline > 0 && l.request > 0 {
		return min(l.request, r.Deadline)
	}
	return r.Deadline
}

// limit fixes how long the request and its attempts may take.
func (rq *routed) limit(rd *reading, now time.Time) {
	c := rd.snap.Catalog
	rq.timeouts = timeoutsOf(rq.decision, c, rd.limits)
	if rd.budget != nil && rd.limits.firstByte == 0 {
		rq.catalog = catalogID(c)
	}
	rq.usable = usable(rq.decision, rd.snap, now)
	if t := c.Routing.FallbackWithin; t > 0 {
		rq.second = now.Add(t).UnixMilli()
	}
	if t := rq.timeouts.deadline; t > 0 {
		rq.deadline = now.Add(t).UnixMilli()
	}
}

// catalogID tells catalogs apart well enough for a plan.
func catalogID(c *catalog.Catalog) string { return c.Hash[:min(len(c.Hash), 12)] }

// usable is when each provider of a chain is usable again, in ms since 1970, where
// all of the chain's offers cool down; nil where one does not.
func usable(d *policy.Decision, snap *policy.Snapshot, now time.Time) map[string]int64 {
	var out map[string]int64
	for i := range d.Attempts {
		o := d.Attempts[i].Offer
		till := snap.Health.At(o.Index).CoolingTill
		if !till.After(now) {
			return nil
		}
		at := till.UnixMilli()
		if out == nil {
			out = make(map[string]int64, len(d.Attempts))
		}
		if first, ok := out[o.Provider.Slug]; !ok || at < first {
			out[o.Provider.Slug] = at
		}
	}
	return out
}

// waitHeaders give an attempt on the timed way less time than its provider's own.
func waitHeaders(wait time.Duration, untilDeadline bool) []*corev3.HeaderValueOption {
	set := []*corev3.HeaderValueOption{setHeader(names.HeaderWait, strconv.FormatInt(wait.Milliseconds(), 10))}
	if untilDeadline {
		set = append(set, setHeader(names.HeaderDeadline, "1"))
	}
	return set
}

// numbers is a map in the form of metadata.
func numbers(m map[string]int64) *structpb.Value {
	s := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(m))}
	for k, v := range m {
		s.Fields[k] = structpb.NewNumberValue(float64(v))
	}
	return structpb.NewStructValue(s)
}
