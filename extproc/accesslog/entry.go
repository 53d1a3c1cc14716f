package accesslog

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// attemptOf translates an entry of the router's upstream_log. Its times count from
// the attempt's own start. ours is false for what did not go to a provider.
func attemptOf(e *logv3.HTTPAccessLogEntry) (a billing.Attempt, ours bool) {
	c := e.GetCommonProperties()
	provider, ours := names.ProviderOf(c.GetUpstreamCluster())
	if !ours && c.GetUpstreamCluster() != "" { // Envoy names none where a circuit breaker was full
		return a, false
	}
	status := statusCode(e)
	if e.GetResponse().GetResponseHeaders()[names.HeaderOutcome] != "" {
		status = 0 // the internal listener's own
	}
	a = billing.Attempt{
		Provider: provider,
		Outcome:  outcome(e, status),
		Status:   status,
		Start:    timeOf(c.GetStartTime()),
		Duration: durationOf(c.GetDuration()),
		TTFT:     durationOf(c.GetTimeToFirstUpstreamRxByte()),
	}
	a.RetryAfter = retryAfter(e.GetResponse().GetResponseHeaders(), a.Start)
	return a, true
}

// recordOf translates the connection manager's entry, apart from the attempts. The
// record is whole, without usage, also where it returns an error.
func recordOf(e *logv3.HTTPAccessLogEntry) (*billing.Record, error) {
	c := e.GetCommonProperties()
	usage, err := usageOf(shunts(e, names.KeyUsage).GetStringValue())
	r := &billing.Record{
		Start:        timeOf(c.GetStartTime()),
		Duration:     durationOf(c.GetDuration()),
		TTFT:         firstByte(c),
		Status:       statusCode(e),
		AnswerBytes:  int64(min(e.GetResponse().GetResponseBodyBytes(), math.MaxInt64)),
		AttemptCount: int(min(c.GetUpstreamRequestAttemptCount(), math.MaxInt16)),
		Provider:     providerOf(e),
		End:          end(e),
		StreamError:  shunts(e, names.KeyStreamError).GetBoolValue(),
		NoFinish:     shunts(e, names.KeyNoFinish).GetBoolValue(),
		Usage:        usage,
	}
	if r.End != billing.EndClean && shunts(e, names.KeyUsageOld).GetBoolValue() {
		r.Usage.Completion, r.Usage.Reasoning = billing.Int{}, billing.Int{} // more was sent since
	}
	r.Last = last(e, r)
	if r.AttemptCount > 0 && strings.HasPrefix(e.GetResponse().GetResponseCodeDetails(), shuntsOwn) {
		r.AttemptCount--
		r.Last = billing.Attempt{}
	}
	return r, err
}

// firstByte is when the client was sent the first byte, which is when a provider had
// something to say: until then the headers of its answer are held back (FALL-1).
func firstByte(c *logv3.AccessLogCommon) time.Duration {
	if d := c.GetTimeToFirstDownstreamTxByte(); d != nil {
		return durationOf(d)
	}
	return durationOf(c.GetTimeToFirstUpstreamRxByte())
}

// shuntsOwn begins the response_code_details of an answer of shunt's. Where Envoy counted
// an attempt, it stands in the place of that: the attempt would have begun too late.
const shuntsOwn = "shunt_"

// last is what the request's own entry says of the last attempt. The status is the
// one that the client got, which is the provider's only for a success.
func last(e *logv3.HTTPAccessLogEntry, r *billing.Record) billing.Attempt {
	a := billing.Attempt{Outcome: outcome(e, r.Status)}
	switch {
	case r.Status >= 200 && r.Status <= 299:
		a.Status = r.Status
	case a.Outcome == billing.OutcomeStatus && e.GetResponse().GetResponseCodeDetails() != viaUpstream:
		a.Outcome = "" // Envoy's own answer
	}
	return a
}

// viaUpstream are the response_code_details of an answer that a provider gave.
const viaUpstream = "via_upstream"

// quoteOf is the quote that the request was admitted with.
func quoteOf(e *logv3.HTTPAccessLogEntry) (text string, ok bool) {
	v := shunts(e, names.KeyQuote)
	if v == nil {
		return "", false
	}
	return v.GetStringValue(), true
}

func shunts(e *logv3.HTTPAccessLogEntry, key string) *structpb.Value {
	return e.GetCommonProperties().GetMetadata().GetFilterMetadata()[names.Namespace].GetFields()[key]
}

// providerOf is the slug by the cluster, else by the header that Envoy set.
func providerOf(e *logv3.HTTPAccessLogEntry) string {
	if slug, ok := names.ProviderOf(e.GetCommonProperties().GetUpstreamCluster()); ok {
		return slug
	}
	return e.GetResponse().GetResponseHeaders()[names.HeaderProvider]
}

// statusCode is 0 for none and for what is not an HTTP status. Some providers make up
// ones above 599; they are statuses all the same.
func statusCode(e *logv3.HTTPAccessLogEntry) int {
	if n := e.GetResponse().GetResponseCode().GetValue(); n >= 100 && n <= 999 {
		return int(n)
	}
	return 0
}

// outcome reads an attempt's end off the flags. Seen on Envoy 1.40: a per-try idle
// timeout is stream_idle_timeout on the attempt and upstream_request_timeout on the
// request; an HTTP/1.1 answer that breaks off is upstream_protocol_error; a full
// circuit breaker is upstream_overflow; an attempt that ended because the client
// left has no flag at all.
func outcome(e *logv3.HTTPAccessLogEntry, status int) billing.Outcome {
	if o, ok := timedOutcomes[e.GetResponse().GetResponseHeaders()[names.HeaderOutcome]]; ok {
		return o
	}
	f := e.GetCommonProperties().GetResponseFlags()
	switch {
	case f.GetUpstreamConnectionFailure(), f.GetUpstreamOverflow(), f.GetNoHealthyUpstream(),
		f.GetDnsResolutionFailure(), f.GetFailedLocalHealthcheck(), f.GetNoClusterFound():
		return billing.OutcomeConnectFailure
	case f.GetUpstreamRequestTimeout(), f.GetStreamIdleTimeout(), f.GetUpstreamMaxStreamDurationReached():
		return billing.OutcomeTimeout
	case f.GetUpstreamRemoteReset(), f.GetUpstreamConnectionTermination(), f.GetUpstreamProtocolError(), f.GetLocalReset():
		return billing.OutcomeReset
	case status >= 200 && status <= 299:
		return billing.OutcomeOK
	case status != 0:
		return billing.OutcomeStatus
	}
	return ""
}

// timedOutcomes are what the way through the internal listener reports, where an
// attempt that had no answer shows as one with an error status.
var timedOutcomes = map[string]billing.Outcome{
	names.OutcomeTimeout:        billing.OutcomeTimeout,
	names.OutcomeConnectFailure: billing.OutcomeConnectFailure,
	names.OutcomeReset:          billing.OutcomeReset,
	names.OutcomeDeadline:       billing.OutcomeTimeout,
}

// end says who ended the answer. The stream's idle timeout is the provider's: it was
// silent for too long. Another limit of Envoy's own that cuts an answer short counts as
// the client's: what it got stays billed.
func end(e *logv3.HTTPAccessLogEntry) billing.End {
	f := e.GetCommonProperties().GetResponseFlags()
	switch {
	case f.GetUpstreamRemoteReset(), f.GetUpstreamConnectionTermination(), f.GetUpstreamProtocolError(),
		f.GetUpstreamRequestTimeout(), f.GetUpstreamMaxStreamDurationReached(), f.GetLocalReset(),
		f.GetUpstreamConnectionFailure(), f.GetUpstreamOverflow(), f.GetNoHealthyUpstream(), f.GetStreamIdleTimeout(),
		strings.HasPrefix(e.GetResponse().GetResponseCodeDetails(), "upstream_"):
		return billing.EndCut
	case f.GetDownstreamConnectionTermination(), f.GetDownstreamRemoteReset(), f.GetDownstreamProtocolError(),
		f.GetDurationTimeout(), f.GetOverloadManager():
		return billing.EndClientGone
	}
	return billing.EndClean
}

// longestRetryAfter bounds what a provider may ask for.
const longestRetryAfter = 24 * time.Hour

// retryAfter reads retry-after-ms, then retry-after in seconds or as a date, which
// counts from asked; 0 if there is none that can be read.
func retryAfter(h map[string]string, asked time.Time) time.Duration {
	wait := time.Duration(0)
	if ms, err := strconv.ParseFloat(h["retry-after-ms"], 64); err == nil {
		wait = scaled(ms, time.Millisecond)
	} else if s, err := strconv.ParseFloat(h["retry-after"], 64); err == nil {
		wait = scaled(s, time.Second)
	} else if t, err := http.ParseTime(h["retry-after"]); err == nil && !asked.IsZero() {
		wait = t.Sub(asked)
	}
	return min(max(wait, 0), longestRetryAfter)
}

func scaled(n float64, unit time.Duration) time.Duration {
	if !(n > 0) { // NaN too
		return 0
	}
	return time.Duration(min(n*float64(unit), float64(longestRetryAfter)))
}

// timeOf is the zero time for none, and for what is no time.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil || t.CheckValid() != nil {
		return time.Time{}
	}
	return t.AsTime()
}

// longestRequest bounds a duration, in the spirit of statusCode.
const longestRequest = 365 * 24 * time.Hour

func durationOf(d *durationpb.Duration) time.Duration {
	if d.CheckValid() != nil {
		return 0
	}
	return min(max(d.AsDuration(), 0), longestRequest)
}
