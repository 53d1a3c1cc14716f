package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/shunt-gateway/shunt/extproc"
	"github.com/shunt-gateway/shunt/policy"
)

// decidedMeters count what is decided. This is beside the path of a request, so all
// labels are made beforehand but those of a refusal.
type decidedMeters struct {
	decisions  metric.Int64Counter
	refusals   metric.Int64Counter
	exclusions metric.Int64Counter
	duration   metric.Float64Histogram

	byKind   [kinds]labels
	byReason [reasons]labels
	byPhase  [phases]labels
}

const (
	kinds   = int(policy.KindCaching) + 1
	reasons = int(policy.Reasons)
	phases  = int(extproc.PhaseShed) + 1
)

// extProcBuckets begin where a decision of a small body is, and end where Envoy gives
// up waiting.
var extProcBuckets = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}

func (m *decidedMeters) make(t *Telemetry, counter func(name, help string) metric.Int64Counter) {
	m.decisions = counter("shunt.decisions", "requests admitted, by what chose their providers")
	m.refusals = counter("shunt.refusals", "requests that shunt refused")
	m.exclusions = counter("shunt.exclusions", "offers left out of a decision")
	var err error
	m.duration, err = t.meter.Float64Histogram("shunt.ext_proc.duration", metric.WithUnit(unitSeconds),
		metric.WithDescription("time from a question of Envoy's to the answer"), metric.WithExplicitBucketBoundaries(extProcBuckets...))
	t.failed(err)
	for i := range m.byKind {
		m.byKind[i] = newLabels(attribute.String("kind", policy.Kind(i).String()))
	}
	for i := range m.byReason {
		m.byReason[i] = newLabels(attribute.String("reason", policy.Reason(i).String()))
	}
	for i := range m.byPhase {
		m.byPhase[i] = newLabels(attribute.String("phase", extproc.Phase(i).String()))
	}
}

// Decided takes an answer that has been sent; ctx is its stream's.
func (t *Telemetry) Decided(ctx context.Context, o *extproc.Outcome) {
	m, none := &t.decided, context.Background()
	m.duration.Record(none, o.Ended.Sub(o.Began).Seconds(), m.byPhase[o.Phase].record...)
	if d := o.Decision; d != nil {
		var n [reasons]int64
		for i := range d.Left {
			n[d.Left[i].Reason]++
		}
		for reason, n := range n {
			if n > 0 {
				m.exclusions.Add(none, n, m.byReason[reason].add...)
			}
		}
		if o.Refusal == nil {
			m.decisions.Add(none, 1, m.byKind[d.Kind].add...)
		}
	}
	if o.Refusal != nil {
		m.refusals.Add(none, 1, metric.WithAttributes(attribute.String("code", o.Refusal.Code)))
	}
	t.span(ctx, o)
}
