package envoy

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// requestExtProc asks shunt once for each request, before routing. The buffer
// filter in front of it holds headers and body until the body is complete, so both
// messages leave together and one round trip decides; see docs/architecture.md for
// the modes that were measured against this one.
func requestExtProc(c *catalog.Catalog) *extprocv3.ExternalProcessor {
	p := extProc()
	p.GrpcService = grpcService()
	p.FailureModeAllow = c.Routing.OnFilterFailure == catalog.FilterFailureAllow
	p.ForwardRules = forward(append([]string{
		":method", ":path", names.HeaderRequestID, "content-type", "authorization",
		names.HeaderProvider, names.HeaderVariant, names.HeaderBillingMode, names.HeaderExplainAsked,
		names.HeaderFirstByte, names.HeaderTimeout, names.HeaderUser, names.HeaderPlan,
	}, identityHeaders(c)...))
	p.MetadataOptions = &extprocv3.MetadataOptions{ReceivingNamespaces: untyped(names.Namespace, names.AnswerNamespace)}
	return p
}

// retryExtProc rewrites a retry. It is stateless: the plan travels in the request's
// metadata, so any replica can serve it.
func retryExtProc(*catalog.Catalog) *extprocv3.ExternalProcessor {
	p := extProc()
	p.GrpcService = grpcService(&corev3.HeaderValue{Key: names.PhaseKey, Value: names.PhaseRetry})
	p.ForwardRules = forward([]string{"x-envoy-attempt-count", ":path"})
	p.MetadataOptions = &extprocv3.MetadataOptions{ForwardingNamespaces: untyped(names.Namespace)}
	return p
}

func extProc() *extprocv3.ExternalProcessor {
	return &extprocv3.ExternalProcessor{
		MessageTimeout: duration(messageTimeout),
		ProcessingMode: &extprocv3.ProcessingMode{
			RequestHeaderMode:   extprocv3.ProcessingMode_SEND,
			RequestBodyMode:     extprocv3.ProcessingMode_STREAMED,
			RequestTrailerMode:  extprocv3.ProcessingMode_SKIP,
			ResponseHeaderMode:  extprocv3.ProcessingMode_SKIP,
			ResponseBodyMode:    extprocv3.ProcessingMode_NONE,
			ResponseTrailerMode: extprocv3.ProcessingMode_SKIP,
		},
		SendBodyWithoutWaitingForHeaderResponse: true,
		AllowContentLengthHeader:                true,
		MutationRules:                           &mutationv3.HeaderMutationRules{AllowEnvoy: yes()},
		StatusOnError:                           &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
	}
}

func untyped(namespaces ...string) *extprocv3.MetadataOptions_MetadataNamespaces {
	return &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: namespaces}
}

func forward(headers []string) *extprocv3.HeaderForwardingRules {
	l := &matcherv3.ListStringMatcher{}
	for _, h := range headers {
		l.Patterns = append(l.Patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: h}})
	}
	return &extprocv3.HeaderForwardingRules{AllowedHeaders: l}
}
