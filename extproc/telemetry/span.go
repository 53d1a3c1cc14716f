package telemetry

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/shunt-gateway/shunt/extproc"
	"github.com/shunt-gateway/shunt/policy"
)

// carrier reads gRPC metadata, in which Envoy sends the trace that it asks within.
type carrier metadata.MD

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(key string) string { return strings.Join(metadata.MD(c).Get(key), ",") }

// Set implements propagation.TextMapCarrier; nothing is ever sent with it.
func (carrier) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}

// parent is the span of Envoy's that a stream belongs to; invalid if there is none.
func parent(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	return propagation.TraceContext{}.Extract(context.Background(), carrier(md))
}

// TraceID is the trace that a stream of Envoy's belongs to, "" if there is none.
func TraceID(ctx context.Context) string {
	if c := trace.SpanContextFromContext(parent(ctx)); c.HasTraceID() {
		return c.TraceID().String()
	}
	return ""
}

// span tells of a decision within Envoy's trace, if that is sampled. A retry's
// rewrite decides nothing and has none.
func (t *Telemetry) span(ctx context.Context, o *extproc.Outcome) {
	if t.tracer == nil || o.Phase == extproc.PhaseRetry {
		return
	}
	within := parent(ctx)
	if !trace.SpanContextFromContext(within).IsSampled() {
		return
	}
	_, span := t.tracer.Start(within, "shunt decide", trace.WithTimestamp(o.Began),
		trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes(o)...))
	if o.Refusal != nil {
		span.SetStatus(codes.Error, o.Refusal.Code)
	}
	span.End(trace.WithTimestamp(o.Ended))
}

// attributes hold nothing that the client wrote: a model that is not in the catalog
// may be anything.
func attributes(o *extproc.Outcome) []attribute.KeyValue {
	out := []attribute.KeyValue{attribute.String("shunt.request_id", o.RequestID)}
	if o.Snapshot != nil {
		out = append(out, operationName.String(operationOf(o.API)), attribute.String("shunt.catalog", o.Snapshot.Catalog.Hash))
	}
	if o.Refusal != nil {
		out = append(out, errorType.String(o.Refusal.Code))
	}
	d := o.Decision
	if d == nil {
		return out
	}
	out = append(out, requestModel.String(d.Model.ID), attribute.String("shunt.kind", d.Kind.String()),
		attribute.Int("shunt.exclusions", len(d.Left)), attribute.Bool("shunt.stream", o.Stream))
	if len(d.Attempts) == 0 {
		return out
	}
	chain := make([]string, len(d.Attempts))
	for i := range d.Attempts {
		chain[i] = d.Attempts[i].Offer.Provider.Slug
	}
	first := d.Attempts[0]
	return append(out, providerName.String(first.Offer.Provider.Slug), attribute.String("shunt.upstream_model", first.Offer.Upstream),
		attribute.String("shunt.reason", first.Reason.String()), attribute.Bool("shunt.sticky", first.Reason == policy.LastServed),
		attribute.StringSlice("shunt.chain", chain))
}
