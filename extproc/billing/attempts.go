package billing

import "time"

// maxAttempts bounds the attempts of an event; a catalog allows 16.
const maxAttempts = maxOffers

// attempts lines up what Envoy reported with what was quoted. Every attempt that
// Envoy counted is listed; of one whose report is missing, the quote tells the
// offer, and the request's own report what became of the last.
func (q *Quote) attempts(r *Record) []AttemptData {
	n := min(max(r.AttemptCount, len(r.Attempts)), maxAttempts)
	out := make([]AttemptData, 0, n)
	next := 0
	for i := range n {
		var o *Offer
		if i < len(q.Offers) {
			o = &q.Offers[i]
		}
		missing := n - i - (len(r.Attempts) - next) // how many are still to be made up
		if next < len(r.Attempts) && (missing <= 0 || o == nil || o.matches(&r.Attempts[next])) {
			out = append(out, attemptData(o, &r.Attempts[next], false))
			next++
			continue
		}
		var unseen Attempt
		if i == n-1 {
			unseen = r.Last
		}
		unseen.Provider = ""
		out = append(out, attemptData(o, &unseen, true))
	}
	return out
}

func (o *Offer) matches(a *Attempt) bool { return a.Provider == "" || a.Provider == o.Provider }

func attemptData(o *Offer, a *Attempt, unseen bool) AttemptData {
	d := AttemptData{Provider: Text(a.Provider), Outcome: a.Outcome}
	if o != nil && o.matches(a) {
		d.Provider, d.UpstreamModel = Text(o.Provider), Text(o.Upstream)
	}
	if a.Status != 0 {
		d.Status = Known(int64(a.Status))
	}
	if d.Reported = !unseen; d.Reported {
		d.DurationMS = milliseconds(a.Duration)
	}
	return d
}

func milliseconds(d time.Duration) Int { return Known(d.Round(time.Millisecond).Milliseconds()) }

// lastDuration fills in how long the last attempt took where it has no report of its own,
// as one that was answered has none: it began when the one before it had ended, the first
// when the request was admitted, and ended with the request.
func lastDuration(attempts []AttemptData, r *Record, started, ended time.Time) {
	n := len(attempts)
	if n == 0 || attempts[n-1].Reported {
		return
	}
	began := started
	if n > 1 {
		if !attempts[n-2].Reported || len(r.Attempts) == 0 {
			return
		}
		before := &r.Attempts[len(r.Attempts)-1]
		began = before.Start.Add(before.Duration)
	}
	attempts[n-1].DurationMS = milliseconds(max(ended.Sub(began), 0))
}
