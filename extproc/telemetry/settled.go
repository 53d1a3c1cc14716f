package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/policy/health"
)

// settledMeters count requests that have ended.
type settledMeters struct {
	tokens    metric.Int64Histogram // of GenAI
	operation metric.Float64Histogram
	first     metric.Float64Histogram

	requests metric.Int64Counter
	duration metric.Float64Histogram
	attempts metric.Int64Counter
	sums     metric.Int64Counter
	amount   metric.Float64Counter
	labels   requestLabels
}

func (t *Telemetry) makeInstruments() {
	histogram := func(name, help string) metric.Float64Histogram {
		h, err := t.meter.Float64Histogram(name, metric.WithUnit(unitSeconds), metric.WithDescription(help), metric.WithExplicitBucketBoundaries(timeBuckets...))
		t.failed(err)
		return h
	}
	counter := func(name, help string) metric.Int64Counter {
		c, err := t.meter.Int64Counter(name, metric.WithDescription(help))
		t.failed(err)
		return c
	}
	s := &t.settled
	s.labels = newRequestLabels()
	var err error
	s.tokens, err = t.meter.Int64Histogram(metricTokens, metric.WithUnit(unitTokens),
		metric.WithDescription("Number of input and output tokens used."), metric.WithExplicitBucketBoundaries(tokenBuckets...))
	t.failed(err)
	s.operation = histogram(metricDuration, "GenAI operation duration.")
	s.first = histogram(metricFirst, "Time to receive the first chunk of a streamed answer.")
	s.requests = counter("shunt.requests", "requests that have ended")
	s.duration = histogram("shunt.request.duration", "time from a request to the end of its answer, all attempts included")
	s.attempts = counter("shunt.attempts", "attempts that have ended")
	s.sums = counter("shunt.tokens", "tokens that were charged for, or would have been")
	s.amount, err = t.meter.Float64Counter("shunt.billed.amount", metric.WithDescription("what requests were charged"))
	t.failed(err)
	t.cooldown = counter("shunt.cooldowns", "cooldowns that began")
	t.decided.make(t, counter)
	t.Count("shunt.telemetry.errors", "what telemetry could not do, such as reach the collector", t.failures.Load)
}

// Settled takes a request that has its event. r is what Envoy reported last, nil if
// it never did.
func (t *Telemetry) Settled(q *billing.Quote, r *billing.Record, d *billing.Data) {
	ctx, s := context.Background(), &t.settled
	status, several := statusIndex(d.Status), 0
	if len(d.Attempts) > 1 {
		several = 1
	}
	// Last: who has seen it counted finds the rest.
	defer s.requests.Add(ctx, 1, s.labels.counted[q.API][status][several].add...)
	if r == nil || d.Status == billing.Unsettled {
		return
	}
	s.duration.Record(ctx, r.Duration.Seconds(), s.labels.timed[status].record...)
	if !d.Amount.IsZero() {
		s.amount.Add(ctx, d.Amount.InexactFloat64(), metric.WithAttributes(attribute.String("currency", d.Currency)))
	}
	t.operations(ctx, q, r, d)
}

// operations records each attempt as an operation of GenAI, and what the last one
// brought.
func (t *Telemetry) operations(ctx context.Context, q *billing.Quote, r *billing.Record, d *billing.Data) {
	k, s := t.known.Load(), &t.settled
	var waited time.Duration // by the attempts before
	for i := range d.Attempts {
		a := &d.Attempts[i]
		l := k.labels(q.API, modelOf(q, i, a), string(a.Provider), string(a.UpstreamModel))
		took := time.Duration(a.DurationMS.N) * time.Millisecond
		class := errorOf(a.Outcome, a.Status.N)
		last := i == len(d.Attempts)-1
		if last {
			took, class = max(r.Duration-waited, 0), errorOfRequest(r, d, class)
			if !a.Reported { // else it has been counted when it was reported
				t.lastAttempt(ctx, l, outcomeOfLast(r, d, a))
			}
		}
		if last || a.DurationMS.Known {
			with := l.plain
			if class != "" {
				with = l.with(errorType.String(class))
			}
			s.operation.Record(ctx, took.Seconds(), with.record...)
		}
		waited += took
		if last && d.Status == billing.Completed && q.Stream && r.TTFT > 0 {
			s.first.Record(ctx, max(r.TTFT-waited+took, 0).Seconds(), l.plain.record...)
		}
		if last {
			t.usage(ctx, l, &d.Usage)
		}
	}
}

func (t *Telemetry) lastAttempt(ctx context.Context, l *offerLabels, outcome string) {
	if outcome == string(billing.OutcomeOK) {
		t.settled.attempts.Add(ctx, 1, l.ok.add...)
		return
	}
	t.settled.attempts.Add(ctx, 1, metric.WithAttributes(l.provider, attribute.String("outcome", outcome)))
}

// modelOf is the id of the model that an attempt was for.
func modelOf(q *billing.Quote, i int, a *billing.AttemptData) string {
	if i < len(q.Offers) && q.Offers[i].Provider == string(a.Provider) && q.Offers[i].Model != "" {
		return q.Offers[i].Model
	}
	return q.Model
}

// errorOfRequest is the class of a request's end; attempt is that of its last
// attempt.
func errorOfRequest(r *billing.Record, d *billing.Data, attempt string) string {
	switch {
	case d.Status == billing.Completed:
		return ""
	case d.Status == billing.Cancelled:
		return errorCancelled
	case r.StreamError:
		return errorInAnswer
	case attempt == "":
		return errorUnlabelled
	}
	return attempt
}

// usage: the conventions' metric takes what the provider reported and nothing else.
func (t *Telemetry) usage(ctx context.Context, l *offerLabels, u *billing.UsageData) {
	s, sums := &t.settled, &l.estimated
	if u.Source == billing.Reported {
		s.tokens.Record(ctx, u.PromptTokens.N, l.input.record...)
		s.tokens.Record(ctx, u.CompletionTokens.N, l.output.record...)
		sums = &l.reported
	}
	for i, n := range tokenCounts(u) {
		if n > 0 {
			s.sums.Add(ctx, n, sums[i].add...)
		}
	}
}

// Failed takes an attempt that failed, as soon as Envoy reports it.
func (t *Telemetry) Failed(a *billing.Attempt) {
	t.settled.attempts.Add(context.Background(), 1, metric.WithAttributes(
		attribute.String("provider", t.known.Load().provider(a.Provider)), attribute.String("outcome", outcomeOf(a.Outcome, a.Status))))
}

// outcomeOf is a class of policy/health: what an attempt's end means for its offer.
func outcomeOf(o billing.Outcome, status int) string {
	if c, ok := health.ClassOf(health.OutcomeOf(string(o)), status); ok {
		return c.String()
	}
	return errorCancelled
}

func outcomeOfLast(r *billing.Record, d *billing.Data, a *billing.AttemptData) string {
	switch {
	case r.StreamError:
		return health.Server.String()
	case d.Status == billing.Cancelled:
		return errorCancelled
	}
	return outcomeOf(a.Outcome, int(a.Status.N))
}

// Cooled counts a cooldown that began.
func (t *Telemetry) Cooled(o *catalog.Offer) {
	t.cooldown.Add(context.Background(), 1, metric.WithAttributes(attribute.String("provider", o.Provider.Slug)))
}
