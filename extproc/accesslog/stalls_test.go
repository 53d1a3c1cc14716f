package accesslog

import (
	"context"
	"testing"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// An answer that falls silent behind the internal listener is a timeout, to billing
// and to health, whether its report comes with the attempt's or before it. Without
// that report it was broken off.
func TestStalledAnswer(t *testing.T) {
	_, entries := recorded(t)
	list := entries["midreset"]
	silence := &logv3.HTTPAccessLogEntry{
		CommonProperties: &logv3.AccessLogCommon{AccessLogType: logv3.AccessLogType_DownstreamEnd, RouteName: names.TimedListener},
		Request:          list[0].GetRequest(),
	}
	for name, tc := range map[string]struct {
		batches [][]*logv3.HTTPAccessLogEntry
		want    billing.Outcome
	}{
		"no report":     {[][]*logv3.HTTPAccessLogEntry{list}, billing.OutcomeReset},
		"in one batch":  {[][]*logv3.HTTPAccessLogEntry{append([]*logv3.HTTPAccessLogEntry{silence}, list...)}, billing.OutcomeTimeout},
		"in one before": {[][]*logv3.HTTPAccessLogEntry{{silence}, list}, billing.OutcomeTimeout},
	} {
		var attempts []billing.Attempt
		var requests []*billing.Record
		s := New(Config{Log: discard(),
			Attempt: func(_ string, a billing.Attempt) { attempts = append(attempts, a) },
			Request: func(_ context.Context, _ *billing.Quote, r *billing.Record) error {
				requests = append(requests, r)
				return nil
			}})
		for _, b := range tc.batches {
			if err := s.message(t.Context(), batch(b...), discard()); err != nil {
				t.Fatal(err)
			}
		}
		if len(attempts) != 1 || attempts[0].Outcome != tc.want || attempts[0].Status != 200 {
			t.Errorf("%s: attempts %+v, want one %s", name, attempts, tc.want)
		}
		if len(requests) != 1 || requests[0].Last.Outcome != tc.want || requests[0].Attempts[0].Outcome != tc.want {
			t.Errorf("%s: requests %+v, want one whose attempt is %s", name, requests, tc.want)
		}
	}
}
