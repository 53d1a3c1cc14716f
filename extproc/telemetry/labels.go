package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// labels are a set that was made beforehand, in the form that instruments take
// without anything being allocated.
type labels struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

func newLabels(all ...attribute.KeyValue) labels {
	set := metric.WithAttributeSet(attribute.NewSet(all...))
	return labels{[]metric.AddOption{set}, []metric.RecordOption{set}}
}

// The kinds of shunt.tokens, in the order of tokenCounts.
var tokenKinds = [...]string{"prompt", "completion", "cache_read", "cache_write", "reasoning"}

func tokenCounts(u *billing.UsageData) [len(tokenKinds)]int64 {
	return [...]int64{u.PromptTokens.N, u.CompletionTokens.N, u.CacheReadTokens.N, u.CacheWriteTokens.N, u.ReasoningTokens.N}
}

// offerLabels are of one offer and API.
type offerLabels struct {
	common        []attribute.KeyValue // of all GenAI metrics
	plain         labels
	input, output labels
	provider      attribute.KeyValue // of shunt's own metrics
	ok            labels             // of an attempt that was
	reported      [len(tokenKinds)]labels
	estimated     [len(tokenKinds)]labels
}

func newOfferLabels(api catalog.API, model, upstream string, p *catalog.Provider) *offerLabels {
	l := &offerLabels{
		common: []attribute.KeyValue{
			operationName.String(operationOf(api)), providerName.String(p.Slug),
			requestModel.String(model), responseModel.String(upstream),
		},
		provider: attribute.String("provider", p.Slug),
	}
	if p.Endpoint.Host != "" {
		l.common = append(l.common, serverAddress.String(p.Endpoint.Host), serverPort.Int(int(p.Endpoint.Port)))
	}
	l.plain = newLabels(l.common...)
	l.input, l.output = l.with(tokenType.String("input")), l.with(tokenType.String("output"))
	l.ok = newLabels(l.provider, attribute.String("outcome", string(billing.OutcomeOK)))
	for i, kind := range tokenKinds {
		of := func(s billing.UsageSource) labels {
			return newLabels(l.provider, attribute.String("model", model), attribute.String("type", kind), attribute.String("source", string(s)))
		}
		l.reported[i], l.estimated[i] = of(billing.Reported), of(billing.Estimated)
	}
	return l
}

// with are the common labels and one more.
func (l *offerLabels) with(more attribute.KeyValue) labels {
	return newLabels(append([]attribute.KeyValue{more}, l.common...)...)
}

// statuses are a request's, in the order of requestLabels.
var statuses = [...]billing.Status{billing.Completed, billing.Cancelled, billing.Failed, billing.Unsettled}

// requestLabels are those of all requests that there can be: by API, status, and
// whether there was one attempt (0) or more (1).
type requestLabels struct {
	counted [apis][len(statuses)][2]labels
	timed   [len(statuses)]labels
}

func newRequestLabels() (r requestLabels) {
	for s, status := range statuses {
		of := attribute.String("status", string(status))
		r.timed[s] = newLabels(of)
		for api := range apis {
			for several, text := range [...]string{"1", "more"} {
				r.counted[api][s][several] = newLabels(attribute.String("api", catalog.API(api).String()), of, attribute.String("attempts", text))
			}
		}
	}
	return r
}

func statusIndex(s billing.Status) int {
	for i, one := range statuses {
		if s == one {
			return i
		}
	}
	return len(statuses) - 1
}
