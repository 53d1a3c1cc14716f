package extproc

import (
	"time"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// quote fixes what the request will be charged by (BILL-5), as it travels in
// Envoy's metadata.
func (d *Decider) quote(rq *routed, rd *reading, now time.Time, size int) []byte {
	caller := ""
	if len(rd.headers.apiKey) > 0 {
		caller = d.Caller(rd.headers.apiKey)
	}
	q := billing.NewQuote(rq.decision, &billing.Facts{
		ID: rd.headers.id, Source: d.Source, StartedAt: now,
		API: rq.api, Stream: rq.stream, RequestedModel: rd.req.Requested,
		Subject: caller, RequestBytes: int64(size), Catalog: rd.snap.Catalog,
	})
	return q.AppendJSON(make([]byte, 0, 1024))
}
