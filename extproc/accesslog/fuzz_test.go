package accesslog

import (
	"context"
	"testing"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/proto"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// SEC-6: whatever bytes pass for a message, nothing panics, and every request that
// is settled makes an event.
func FuzzMessage(f *testing.F) {
	order, entries := recorded(f)
	for _, name := range order {
		b, err := proto.Marshal(batch(entries[name]...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &accesslogv3.StreamAccessLogsMessage{}
		if proto.Unmarshal(b, m) != nil {
			return
		}
		check := func(ctx context.Context, q *billing.Quote, r *billing.Record) error {
			e := billing.Settle(q, r)
			if _, err := e.Message(); err != nil {
				t.Fatal(err)
			}
			if e.Data.Amount.IsNegative() || r.Duration < 0 || r.TTFT < 0 || r.AnswerBytes < 0 {
				t.Fatalf("%+v, %+v", e, r)
			}
			return nil
		}
		s := New(Config{Request: check, Attempt: func(_ string, a billing.Attempt) {
			if a.Duration < 0 || a.TTFT < 0 || a.RetryAfter < 0 || a.RetryAfter > longestRetryAfter {
				t.Fatalf("%+v", a)
			}
		}, Log: discard()})
		_ = s.message(t.Context(), m, discard())
		_ = s.message(t.Context(), m, discard())
	})
}

// The same for single entries, which mutate better.
func FuzzEntry(f *testing.F) {
	order, entries := recorded(f)
	for _, name := range order {
		for _, e := range entries[name] {
			b, err := proto.Marshal(e)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e := &logv3.HTTPAccessLogEntry{}
		if proto.Unmarshal(b, e) != nil {
			return
		}
		attemptOf(e)
		r, _ := recordOf(e)
		q := billing.Quote{ID: "x"}
		event := billing.Settle(&q, r)
		if _, err := event.Message(); err != nil {
			t.Fatal(err)
		}
	})
}
