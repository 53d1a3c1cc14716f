package main

import (
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// spend tells the retry budget what the last attempt of a request came to. Of those
// before it, the attempts that followed have told.
func (a *app) spend(q *billing.Quote, r *billing.Record) {
	o, w := q.Served(r), a.live.Load()
	if o == nil || w == nil || w.Budget == nil || r.End == billing.EndClientGone {
		return
	}
	index, ok := quotedSpot(q, o).in(w.Snapshot.Catalog)
	if !ok {
		return
	}
	switch {
	case r.Answered(), clientsFault(r.Status):
		w.Budget.Answered(index)
	case r.Status >= 200 && r.Status <= 299, r.Last.Outcome == "": // it broke off, or never was
	case r.Last.Outcome == billing.OutcomeTimeout && hurried(w.Snapshot.Catalog.Offers()[index], r.Duration):
	default:
		w.Budget.Failed(index, time.Now())
	}
}

// clientsFault: the provider answered, and it is the client who is wrong.
func clientsFault(status int) bool {
	return status >= 400 && status < 500 && status != 408 && status != 429
}

// hurried reports whether an attempt that had no answer in so long had less time than
// its provider is given, because of its request's deadline or its client's haste: it
// says nothing of the provider.
func hurried(o *catalog.Offer, took time.Duration) bool {
	return took > 0 && took < o.Provider.Timeout.FirstByte*95/100
}
