package extproc

import (
	"time"

	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/identity"
)

// quote fixes what the request will be charged by (BILL-5), as it travels in
// Envoy's metadata.
func (d *Decider) quote(rq *routed, rd *reading, now time.Time, size int) []byte {
	q := billing.NewQuote(rq.decision, &billing.Facts{
		ID: rd.headers.id, Source: d.Source, StartedAt: now,
		API: rq.api, Stream: rq.stream, RequestedModel: rd.req.Requested,
		Subject: d.subject(&rd.headers.caller), Subscriber: rd.headers.caller.Subscriber, RequestBytes: int64(size), Catalog: rd.snap.Catalog,
	})
	return q.AppendJSON(make([]byte, 0, 1024))
}

// subject is the keyed hash of who is charged: the user, else the API key, else
// nobody.
func (d *Decider) subject(c *identity.Caller) string {
	switch {
	case c.Authenticated():
		return d.Hasher.User([]byte(c.User))
	case len(c.APIKey) > 0:
		return d.Hasher.APIKey(c.APIKey)
	default:
		return ""
	}
}
