package envoy

import (
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	internallistenerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// Envoy has one first-byte timeout per request, not per attempt. Where the
// providers of a chain differ in theirs, the request gets the longest, and an
// attempt that is to be shorter takes a way round: a second connection manager in
// the same process, reached over an internal listener, whose route for that
// provider has the provider's own timeout. Chains of one timeout never go there.

// The way round also knows what Envoy's retry conditions cannot tell apart: which of
// timeout, reset and connect failure it was (names.Direct).

// timed are the providers that some other provider may outwait, or all.
func timed(c *catalog.Catalog) []*catalog.Provider {
	if !direct(c.Routing.FallbackOn) || c.Routing.Deadline > 0 {
		return c.Providers
	}
	var longest time.Duration
	for _, p := range c.Providers {
		longest = max(longest, p.Timeout.FirstByte)
	}
	var out []*catalog.Provider
	for _, p := range c.Providers {
		if p.Timeout.FirstByte < longest {
			out = append(out, p)
		}
	}
	return out
}

func internalListeners() *corev3.TypedExtensionConfig {
	return extension("envoy.bootstrap.internal_listener", &internallistenerv3.InternalListener{})
}

// timedCluster is the way to a provider through the internal listener. Retries are
// rewritten before it; credentials and header hygiene are those of the provider's
// own cluster behind it.
func timedCluster(c *catalog.Catalog, p *catalog.Provider) *clusterv3.Cluster {
	name := names.TimedCluster(p.Slug)
	address := &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
		AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: names.TimedListener},
	}}}
	filters := []*hcmv3.HttpFilter{
		retryFilter(c),
		headerMutation([]*mutationv3.HeaderMutation{set(names.HeaderTimed, p.Slug)}, attemptEnd(c)),
		upstreamCodec(),
	}
	return &clusterv3.Cluster{
		Name:                 name,
		ConnectTimeout:       duration(time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		CircuitBreakers:      breakers(),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{
			{LbEndpoints: []*endpointv3.LbEndpoint{endpoint(address, authority(p.Endpoint))}},
		}},
		TypedExtensionProtocolOptions: protocolOptions(&httpv3.HttpProtocolOptions{
			HttpFilters: filters,
			UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
				ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
					ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
						HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
					},
				},
			},
		}),
	}
}

// timedListener carries each request to the provider that its header names.
func timedListener(s *scene, o Options) *listenerv3.Listener {
	host := &routev3.VirtualHost{
		Name: names.TimedListener, Domains: []string{"*"},
		RequestBodyBufferLimit:     wrapperspb.UInt64(uint64(bufferLimit(s.Catalog))),
		IncludeRequestAttemptCount: true, // 1: the retry filter behind here is skipped
	}
	for _, p := range s.timed {
		if s.Routing.Deadline > 0 {
			host.Routes = append(host.Routes, deadlineRoute(p))
		}
		host.Routes = append(host.Routes, timedRoute(p))
	}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: names.TimedListener,
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{
			RouteConfig: &routev3.RouteConfiguration{Name: names.TimedListener, VirtualHosts: []*routev3.VirtualHost{host}},
		},
		HttpFilters:                timedFilters(s.Catalog),
		StreamIdleTimeout:          duration(0),
		GenerateRequestId:          wrapperspb.Bool(false),
		LocalReplyConfig:           timedReplies(s.Routing.FallbackOn),
		AccessLog:                  stallLog(o),
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
	}
	return &listenerv3.Listener{
		Name:                          names.TimedListener,
		ListenerSpecifier:             &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}},
		PerConnectionBufferLimitBytes: u32(bufferLimit(s.Catalog)),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(manager)},
		}}}},
	}
}

// timedFilters let an attempt have less time than its route says, where that can be.
func timedFilters(c *catalog.Catalog) []*hcmv3.HttpFilter {
	router := httpFilter("envoy.filters.http.router", pack(&routerv3.Router{SuppressEnvoyHeaders: true}))
	if direct(c.Routing.FallbackOn) && c.Routing.Deadline == 0 {
		return []*hcmv3.HttpFilter{router}
	}
	wait := set("x-envoy-upstream-rq-per-try-timeout-ms", "%REQ("+names.HeaderWait+")%")
	return []*hcmv3.HttpFilter{headerMutation([]*mutationv3.HeaderMutation{wait}, nil), router}
}

func timedRoute(p *catalog.Provider) *routev3.Route {
	return &routev3.Route{
		Name: names.TimedListener, // which tells shunt whose idle timeout it was
		Match: &routev3.RouteMatch{
			PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
			Headers:       []*routev3.HeaderMatcher{headerIs(names.HeaderTimed, p.Slug)},
		},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: names.ProviderCluster(p.Slug)},
			Timeout:          duration(0),
			IdleTimeout:      duration(max(p.Timeout.Idle, p.Timeout.Connect+p.Timeout.FirstByte)),
			RetryPolicy: &routev3.RetryPolicy{
				NumRetries:    wrapperspb.UInt32(0),
				PerTryTimeout: duration(p.Timeout.FirstByte),
			},
			HostRewriteSpecifier: &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: yes()},
		}},
	}
}

const routeDeadline = "deadline"

// deadlineRoute is timedRoute for an attempt that the request's deadline ends: its name
// is all that is left to tell by, when the provider's filters have seen the headers.
func deadlineRoute(p *catalog.Provider) *routev3.Route {
	r := timedRoute(p)
	r.Name = routeDeadline
	r.Match.Headers = append(r.Match.Headers, headerIs(names.HeaderDeadline, "1"))
	return r
}

// timedReplies tell the attempt's outcome to the connection manager in front, which
// retries on it, to the access log and to the response filter. Their status is one
// that is not retried for itself.
func timedReplies(f catalog.FallbackOn) *hcmv3.LocalReplyConfig {
	status := 400
	for slices.Contains(f.Statuses, status) {
		status++
	}
	outcome := func(when, value string) *hcmv3.ResponseMapper {
		return &hcmv3.ResponseMapper{
			Filter:       celFilter(when),
			StatusCode:   u32(uint32(status)),
			HeadersToAdd: []*corev3.HeaderValueOption{overwrite(names.HeaderOutcome, value)},
		}
	}
	timeout := details("response_timeout") + " || " + details("per_try") + " || " + details("upstream_per_try") + " || response.code == 504"
	return &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{
		outcome(`xds.route_name == "`+routeDeadline+`" && (`+timeout+`)`, names.OutcomeDeadline),
		outcome(timeout, names.OutcomeTimeout),
		outcome(details("upstream_reset_before_response_started{connection_failure")+" || "+
			details("upstream_reset_before_response_started{connection_timeout")+" || "+
			details("upstream_reset_before_response_started{remote_connection_failure")+" || "+
			details("upstream_reset_before_response_started{local_connection_failure")+" || "+
			details("upstream_reset_before_response_started{overflow")+" || "+
			details("no_healthy_upstream"), names.OutcomeConnectFailure),
		outcome("true", names.OutcomeReset),
	}}
}
