package envoy

import (
	"net/netip"
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	skipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/matcher/action/v3"
	injectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	headermutv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	upstreamcodecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/shunt-gateway/shunt/catalog"
)

func protocolOptions(o *httpv3.HttpProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(o)}
}

// upstreamIdle closes a pooled connection before the far side does, which most
// do at 60 s or more: a request sent into a closing connection costs an attempt.
const upstreamIdle = 50 * time.Second

// upstreamProtocol speaks HTTP/2 where TLS offers it, HTTP/1.1 otherwise.
func upstreamProtocol(e catalog.Endpoint, filters []*hcmv3.HttpFilter) *httpv3.HttpProtocolOptions {
	o := &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: duration(upstreamIdle)},
		HttpFilters:               filters,
	}
	if e.Scheme == "https" {
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_AutoConfig{
			AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{},
		}
		return o
	}
	o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
			},
		},
	}
	return o
}

// upstreamFilters run for each attempt at this provider. What they write stays on
// the request for the next attempt, so every value is absolute: a provider without
// a key clears what another's injector left behind (FALL-2).
func upstreamFilters(c *catalog.Catalog, p *catalog.Provider, o Options) []*hcmv3.HttpFilter {
	f := []*hcmv3.HttpFilter{
		retryFilter(c),
		headerMutation(toProvider(c), append(fromProvider(p.Slug), attemptEnd(c)...), allTrailers()...),
	}
	if !p.APIKey.IsZero() {
		f = append(f, credentials(p, o))
	}
	return append(f, holdHeaders(), upstreamCodec())
}

// upstreamCodec ends every chain of upstream filters.
func upstreamCodec() *hcmv3.HttpFilter {
	return httpFilter("envoy.filters.http.upstream_codec", pack(&upstreamcodecv3.UpstreamCodec{}))
}

func headerMutation(request, response []*mutationv3.HeaderMutation, trailers ...*mutationv3.HeaderMutation) *hcmv3.HttpFilter {
	return httpFilter("envoy.filters.http.header_mutation", pack(&headermutv3.HeaderMutation{
		Mutations: &headermutv3.Mutations{
			RequestMutations: request, ResponseMutations: response,
			RequestTrailersMutations: trailers, ResponseTrailersMutations: trailers,
		},
	}))
}

// allTrailers removes every trailer: no API has one, and each could be a way around
// what is done about headers (SEC-1).
func allTrailers() []*mutationv3.HeaderMutation {
	return []*mutationv3.HeaderMutation{{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{
		RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{KeyMatcher: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: ".+"}},
		}},
	}}}
}

func credentials(p *catalog.Provider, o Options) *hcmv3.HttpFilter {
	key := &tlsv3.SdsSecretConfig{Name: secretName(p)}
	if !o.static {
		key.SdsConfig = adsSource()
	}
	return httpFilter("envoy.filters.http.credential_injector", pack(&injectorv3.CredentialInjector{
		Overwrite: true,
		Credential: extension("envoy.http.injected_credentials.generic", &genericv3.Generic{
			Credential:        key,
			HeaderValuePrefix: "Bearer ",
		}),
	}))
}

// retryFilter rewrites body and path for the second and later attempts. The first
// was written before the router, so there the filter is skipped and costs nothing.
func retryFilter(c *catalog.Catalog) *hcmv3.HttpFilter {
	firstAttempt := &xdsmatcherv3.Matcher_MatcherList_Predicate{
		MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
			SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
				Input: xdsExtension("request-headers", &matcherv3.HttpRequestHeaderMatchInput{HeaderName: "x-envoy-attempt-count"}),
				Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{
					ValueMatch: &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: "1"}},
				},
			},
		},
	}
	return httpFilter("envoy.filters.http.ext_proc/retry", pack(&matchingv3.ExtensionWithMatcher{
		ExtensionConfig: extension("envoy.filters.http.ext_proc", retryExtProc(c)),
		XdsMatcher: &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{
			MatcherList: &xdsmatcherv3.Matcher_MatcherList{Matchers: []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher{{
				Predicate: firstAttempt,
				OnMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
					Action: xdsExtension("skip", &skipv3.SkipFilter{}),
				}},
			}}},
		}},
	}))
}

// tls checks the far side's certificate against its host name and a certificate
// bundle, and shows it one of our own if there is one.
func tls(e catalog.Endpoint, caFile string, own ...*tlsv3.TlsCertificate) *corev3.TransportSocket {
	san := &tlsv3.SubjectAltNameMatcher{
		SanType: tlsv3.SubjectAltNameMatcher_DNS,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: e.Host}},
	}
	ctx := &tlsv3.UpstreamTlsContext{Sni: e.Host}
	if _, err := netip.ParseAddr(e.Host); err == nil {
		san.SanType, ctx.Sni = tlsv3.SubjectAltNameMatcher_IP_ADDRESS, ""
	}
	ctx.CommonTlsContext = &tlsv3.CommonTlsContext{
		TlsCertificates: own,
		TlsParams:       &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa:                 &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: caFile}},
			MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{san},
		}},
	}
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(ctx)},
	}
}

func xdsExtension(name string, m proto.Message) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: pack(m)}
}

func httpFilter(name string, config *anypb.Any) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: config}}
}
