package billing

import (
	"time"

	"github.com/shopspring/decimal"
)

// Settle makes the event of a request from what was quoted and what happened. The
// same arguments give the same event.
func Settle(q *Quote, r *Record) Event {
	return settle(q, r, q.Served(r), defaultRatio(q.Stream))
}

// settle is Settle with a ratio for estimates.
func settle(q *Quote, r *Record, served *Offer, ratio Ratio) Event {
	started, ended := span(q, r)
	e := q.event(started, ended, statusOf(r), served)
	e.Data.Attempts = q.attempts(r)
	lastDuration(e.Data.Attempts, r, started, ended)
	q.charge(&e.Data, r, served, ratio)
	return e
}

// SettleUnknown makes the event of a request that was admitted and of whose end
// nothing was heard until at: status unsettled, nothing charged. last is what was
// heard of it while it was under way, nil if nothing was.
func SettleUnknown(q *Quote, last *Record, at time.Time) Event {
	if last == nil {
		started, ended := span(q, &Record{Start: at})
		return q.event(started, ended, Unsettled, nil)
	}
	started, ended := span(q, last)
	e := q.event(started, ended, Unsettled, q.Served(last))
	e.Data.Attempts = q.attempts(last)
	return e
}

// statusOf: a request is completed when a 2xx answer came to its end. An error
// event makes a 200 stream a failure, also when the client left because of it.
func statusOf(r *Record) Status {
	switch success := r.success(); {
	case r.StreamError:
		return Failed
	case r.End == EndClientGone && (success || r.Status == 0):
		return Cancelled
	case success && r.End == EndClean:
		return Completed
	}
	return Failed
}

// brokenOff: the provider ended a 2xx answer after some output, without an error
// event.
func (r *Record) brokenOff() bool {
	return r.success() && r.End == EndCut && !r.StreamError && r.AnswerBytes > 0
}

// Served is the offer of the last attempt made, nil where none was or it is not
// in the quote. Envoy walks the chain in order, so the count is the place. The
// cluster that Envoy names can be an earlier attempt's where no connection came
// about for the last, so it overrules the count only for an answer that was given.
func (q *Quote) Served(r *Record) *Offer {
	i := r.AttemptCount - 1
	if r.AttemptCount == 0 {
		i = len(r.Attempts) - 1
	}
	if i < 0 {
		return nil
	}
	if i < len(q.Offers) && (r.Provider == "" || r.Provider == q.Offers[i].Provider || !r.success()) {
		return &q.Offers[i]
	}
	for j := min(i, len(q.Offers)-1); j >= 0; j-- {
		if q.Offers[j].Provider == r.Provider {
			return &q.Offers[j]
		}
	}
	return nil
}

// span are when the request began (shunt's clock) and ended (Envoy's), which is
// never before.
func span(q *Quote, r *Record) (started, ended time.Time) {
	started = q.StartedAt.UTC().Truncate(time.Microsecond)
	from := r.Start
	if from.IsZero() {
		from = started
	}
	ended = from.Add(r.Duration).UTC().Truncate(time.Microsecond)
	if ended.Before(started) || ended.Year() > 9999 { // RFC 3339 ends there
		ended = started
	}
	return started, ended
}

// event fills in what does not depend on usage.
func (q *Quote) event(started, ended time.Time, status Status, served *Offer) Event {
	d := Data{
		StartedAt: started, EndedAt: ended,
		API: q.API.String(), Stream: q.Stream,
		RequestedModel: Text(q.RequestedModel), Model: Text(q.model(served)),
		Status:   status,
		Attempts: []AttemptData{},
		Usage:    UsageData{Source: None},
		Currency: q.Currency, Mode: q.Mode,
	}
	if served != nil {
		d.Provider, d.UpstreamModel = Text(served.Provider), Text(served.Upstream)
	}
	p, markup := q.price(served)
	d.Price, d.Decision = priceData(p, markup), q.decision(p)
	return Event{
		SpecVersion: "1.0", Type: EventType, ID: q.ID, Source: q.Source, Subject: q.Subject,
		Time: ended, DataContentType: "application/json", Data: d,
	}
}

// charge fills in usage and amounts.
//
// BILL-8: failed before any output: amount 0. Cancelled, or broken off by the provider
// after output: billed for what was sent, estimated where the provider reported
// nothing. An answer that ends in an error event costs nothing, nor does one of no
// tokens that does not say why it ended.
func (q *Quote) charge(d *Data, r *Record, served *Offer, ratio Ratio) {
	usage, source := q.usage(r, d.Status, ratio)
	d.Usage = UsageData{
		Source:       source,
		PromptTokens: usage.Prompt, CompletionTokens: usage.Completion,
		CacheReadTokens: usage.CacheRead, CacheWriteTokens: usage.CacheWrite,
		ReasoningTokens: usage.Reasoning,
	}
	d.Note = noteOf(d, r)
	p, markup := q.price(served)
	if p != nil {
		d.Price = priceData(p.At(usage.Prompt.N), markup)
	}
	switch {
	case d.Note == ErrorAnswer || d.Note == EmptyAnswer || d.Status == Failed && d.Note != BrokenOff || source == None:
		d.ListAmount = decimal.NewNullDecimal(decimal.Decimal{})
		return
	case p == nil:
		d.Note = PriceUnknown // amount 0 with price and list_amount null: nobody knows what it costs
		return
	}
	d.ListAmount = decimal.NewNullDecimal(Amount(p, markup, usage))
	if q.Mode != Subscription { // BILL-3
		d.Amount = d.ListAmount.Decimal
	}
}

// noteOf is the note that follows from what happened.
func noteOf(d *Data, r *Record) Note {
	switch {
	case r.StreamError:
		return ErrorAnswer
	case r.brokenOff():
		return BrokenOff
	case d.Status == Completed && d.Usage.CompletionTokens == Known(0) && r.empty(d.Stream):
		return EmptyAnswer
	}
	return ""
}

// empty: nothing was sent, or a whole answer of no tokens does not say why it ended.
// Without a report, a short stream is as good as empty, and a short JSON answer is not.
func (r *Record) empty(stream bool) bool {
	reported := r.Usage.Completion.Known
	return r.AnswerBytes == 0 && !reported || r.NoFinish && (reported || stream)
}

// usage is what the provider reported, with the gaps estimated where something is
// owed.
func (q *Quote) usage(r *Record, status Status, ratio Ratio) (Usage, UsageSource) {
	u := r.Usage.sane()
	completion := ratio.tokens(r.AnswerBytes)
	if r.End != EndClean {
		// What was reported before the output tells nothing of it.
		u.Prompt, u.Completion = u.Prompt.orNone(), u.Completion.orNone()
	}
	reported := u.Prompt.Known && u.Completion.Known
	switch {
	case reported:
		return u, Reported
	case status == Failed && !r.brokenOff():
		return Usage{}, None
	case status != Completed && !u.Completion.Known && completion == 0:
		return Usage{}, None // it left before anything of worth was sent
	}
	if !u.Prompt.Known {
		u.Prompt = Known(max(estimatedPrompt(q.RequestBytes), u.CacheRead.N))
	}
	if !u.Completion.Known {
		u.Completion = Known(completion)
	}
	return u.sane(), Estimated
}
