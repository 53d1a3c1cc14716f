package accesslog

import (
	"math"
	"strings"
	"testing"
	"time"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		seconds, millis string
		want            time.Duration
	}{
		{"", "", 0},
		{"7", "", 7 * time.Second},
		{"0.5", "", 500 * time.Millisecond},
		{"7", "1500", 1500 * time.Millisecond},
		{"7", "soon", 7 * time.Second},
		{"-3", "", 0},
		{"NaN", "", 0},
		{"Inf", "", longestRetryAfter},
		{"1e300", "", longestRetryAfter},
		{"Sun, 22 Nov 2026 12:00:30 GMT", "", 30 * time.Second},
		{"Sun, 22 Nov 2026 11:00:00 GMT", "", 0},
		{"Mon, 22 Nov 2100 11:00:00 GMT", "", longestRetryAfter},
		{"tomorrow", "", 0},
	} {
		if got := retryAfter(map[string]string{"retry-after": c.seconds, "retry-after-ms": c.millis}, noon); got != c.want {
			t.Errorf("%q, %q: %v, want %v", c.seconds, c.millis, got, c.want)
		}
	}
	if got := retryAfter(map[string]string{"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, time.Time{}); got != 0 {
		t.Errorf("a date, counted from no time: %v", got)
	}
}

// Whatever figures an entry has, a record's are ones that can be worked with.
func TestOddFigures(t *testing.T) {
	e := &logv3.HTTPAccessLogEntry{
		CommonProperties: &logv3.AccessLogCommon{
			StartTime:                   &timestamppb.Timestamp{Seconds: math.MaxInt64, Nanos: -1},
			Duration:                    &durationpb.Duration{Seconds: -5},
			TimeToFirstUpstreamRxByte:   &durationpb.Duration{Seconds: 300_000_000_000},
			UpstreamRequestAttemptCount: math.MaxUint32,
			DownstreamWireBytesSent:     math.MaxUint64,
		},
		Response: &logv3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(math.MaxUint32), ResponseBodyBytes: math.MaxUint64},
	}
	r, err := recordOf(e)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Start.IsZero() || r.Duration != 0 || r.TTFT != longestRequest || r.AttemptCount != math.MaxInt16 || r.Status != 0 || r.AnswerBytes != math.MaxInt64 {
		t.Errorf("%+v", r)
	}
}

func TestProviderByHeader(t *testing.T) {
	e := &logv3.HTTPAccessLogEntry{
		CommonProperties: &logv3.AccessLogCommon{UpstreamCluster: "hub"},
		Response:         &logv3.HTTPResponseProperties{ResponseHeaders: map[string]string{names.HeaderProvider: "novita"}},
	}
	if got := providerOf(e); got != "novita" {
		t.Errorf("%q", got)
	}
	e.CommonProperties.UpstreamCluster = names.ProviderCluster("acme")
	if got := providerOf(e); got != "acme" {
		t.Errorf("the cluster does not come first: %q", got)
	}
}

// Envoy's own answers (a filter's 500, say) say nothing of the last attempt.
func TestLocalReplyIsNoOutcome(t *testing.T) {
	e := &logv3.HTTPAccessLogEntry{
		CommonProperties: &logv3.AccessLogCommon{UpstreamRequestAttemptCount: 1},
		Response:         &logv3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(500), ResponseCodeDetails: "ext_proc_error_gRPC_error_14"},
	}
	if r, err := recordOf(e); err != nil || r.Last.Outcome != "" || r.Last.Status != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// The first byte is the one that the client got, where Envoy says when that was.
func TestFirstByte(t *testing.T) {
	e := &logv3.HTTPAccessLogEntry{CommonProperties: &logv3.AccessLogCommon{
		TimeToFirstUpstreamRxByte: durationpb.New(10 * time.Millisecond), TimeToFirstDownstreamTxByte: durationpb.New(300 * time.Millisecond),
	}}
	if r, err := recordOf(e); err != nil || r.TTFT != 300*time.Millisecond {
		t.Errorf("%v, %v", r.TTFT, err)
	}
	e.CommonProperties.TimeToFirstDownstreamTxByte = nil
	if r, err := recordOf(e); err != nil || r.TTFT != 10*time.Millisecond {
		t.Errorf("%v, %v", r.TTFT, err)
	}
}

func known(prompt, completion int64) billing.Usage {
	return billing.Usage{Prompt: billing.Known(prompt), Completion: billing.Known(completion)}
}

// An answer of shunt's own in place of a retry: that attempt was not made.
func TestTooLateIsNoAttempt(t *testing.T) {
	for details, want := range map[string]int{"shunt_deadline_exceeded": 1, "shunt_all_providers_failed": 1, viaUpstream: 2} {
		e := &logv3.HTTPAccessLogEntry{
			CommonProperties: &logv3.AccessLogCommon{UpstreamRequestAttemptCount: 2, UpstreamCluster: names.ProviderCluster("b")},
			Response:         &logv3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(504), ResponseCodeDetails: details},
		}
		r, err := recordOf(e)
		if err != nil || r.AttemptCount != want || (r.Last == billing.Attempt{}) != (want == 1) {
			t.Errorf("%s: %+v, %v", details, r, err)
		}
	}
}

func TestUsage(t *testing.T) {
	whole := known(1000, 50)
	whole.CacheRead, whole.CacheWrite, whole.Reasoning = billing.Known(400), billing.Known(20), billing.Known(7)
	const openai = `{"prompt_tokens":1000,"completion_tokens":50,"total_tokens":1050,` +
		`"prompt_tokens_details":{"cached_tokens":400,"cache_write_tokens":20},"completion_tokens_details":{"reasoning_tokens":7}}`
	cached := known(1000, 50)
	cached.CacheRead = billing.Known(400)
	written := known(1000, 50)
	written.CacheWrite = billing.Known(20)
	for name, c := range map[string]struct {
		object string
		want   billing.Usage
	}{
		"none":                {"", billing.Usage{}},
		"chat":                {openai, whole},
		"responses":           {strings.NewReplacer("prompt", "input", "completion", "output").Replace(openai), whole},
		"other names: hit":    {`{"prompt_tokens":1000,"completion_tokens":50,"prompt_cache_hit_tokens":400,"prompt_cache_miss_tokens":600}`, cached},
		"other names: read":   {`{"prompt_tokens":1000,"completion_tokens":50,"cache_read_input_tokens":400}`, cached},
		"other names: cached": {`{"prompt_tokens":1000,"completion_tokens":50,"cached_tokens":400}`, cached},
		"other names: write":  {`{"prompt_tokens":1000,"completion_tokens":50,"cache_creation_input_tokens":20}`, written},
		"details are null":    {`{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":null}`, known(3, 4)},
		"one count":           {`{"completion_tokens":5}`, billing.Usage{Completion: billing.Known(5)}},
		"spelt otherwise":     {`{"prompt_tokens":3.0,"completion_tokens":1e2}`, known(3, 100)},
		"fractions":           {`{"prompt_tokens":3.5,"completion_tokens":"4"}`, billing.Usage{}},
		"negative":            {`{"prompt_tokens":-3,"completion_tokens":-1e2}`, billing.Usage{}},
		"overflow":            {`{"prompt_tokens":99999999999999999999,"completion_tokens":1e300}`, billing.Usage{}},
		"huge":                {`{"completion_tokens":9223372036854775807}`, billing.Usage{Completion: billing.Known(math.MaxInt64)}},
		"no object":           {`null`, billing.Usage{}},
	} {
		if got, err := usageOf(c.object); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	if got, err := usageOf(`{"prompt_tokens":3,"compl`); err == nil || got != (billing.Usage{}) {
		t.Errorf("%+v, %v", got, err)
	}
}
