package envoy

import (
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// routes is matched twice for a routed request: first by its public path, which
// runs the filters; then, when shunt has answered, by the header that shunt set,
// which goes to the providers.
func routes(s *scene) *routev3.RouteConfiguration {
	c := s.Catalog
	host := &routev3.VirtualHost{
		Name: "shunt", Domains: []string{"*"},
		RequestBodyBufferLimit:     wrapperspb.UInt64(uint64(bufferLimit(c))),
		IncludeRequestAttemptCount: true,
	}
	host.Routes = append(host.Routes, decidedRoutes(s)...)
	host.Routes = append(host.Routes, publicRoutes(c)...)
	host.Routes = append(host.Routes, apiRoutes()...)
	for _, p := range c.Passthrough {
		host.Routes = append(host.Routes, passthroughRoute(c, p))
	}
	host.Routes = append(host.Routes, notFound(&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}))
	return &routev3.RouteConfiguration{Name: names.RouteConfig, VirtualHosts: []*routev3.VirtualHost{host}}
}

// decidedRoutes carry a decision out. There is one for each idle timeout, which
// belongs to a route in Envoy.
func decidedRoutes(s *scene) []*routev3.Route {
	var out []*routev3.Route
	for _, idle := range s.idles {
		out = append(out, &routev3.Route{
			Name: "decided",
			Match: &routev3.RouteMatch{
				PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
				Headers:       []*routev3.HeaderMatcher{headerIs(names.HeaderRoute, names.Route(idle))},
			},
			Action:               &routev3.Route_Route{Route: providerAction(s, idle)},
			TypedPerFilterConfig: routedFilters(),
		})
	}
	return out
}

// idles are the values of names.Silence: the providers' idle timeouts, and what the
// waits for first bytes come to at most.
func idles(c *catalog.Catalog) []time.Duration {
	var out []time.Duration
	var wait time.Duration
	for _, p := range c.Providers {
		out = append(out, p.Timeout.Idle)
		wait = max(wait, p.Timeout.Connect+p.Timeout.FirstByte)
	}
	slices.Sort(out)
	if longest := time.Duration(c.Routing.MaxAttempts) * wait; longest > out[0] {
		out = append(out, longest)
		slices.Sort(out)
	}
	return slices.Compact(out)
}

func providerAction(s *scene, idle time.Duration) *routev3.RouteAction {
	return &routev3.RouteAction{
		ClusterSpecifier:     chain(s),
		Timeout:              duration(0), // an answer may take as long as its provider keeps sending
		IdleTimeout:          duration(idle),
		RetryPolicy:          retryPolicy(s.Catalog),
		HostRewriteSpecifier: &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: yes()},
	}
}

// retryPolicy makes no retry by itself: shunt allows as many per request as its
// decision has attempts (x-envoy-max-retries), with the first-byte timeout as the
// per-try timeout. A per-try idle timeout would be of no use beside it: Envoy drops
// that one when the other ends, also in the middle of an answer. No back-off: the next
// attempt is at another provider.
func retryPolicy(c *catalog.Catalog) *routev3.RetryPolicy {
	on, statuses := retryOn(&c.Routing)
	headers := retriableOutcomes(c.Routing.FallbackOn)
	if c.Routing.FallbackWithin > 0 {
		headers = append(headers, retriableEnds(&c.Routing)...)
	}
	return &routev3.RetryPolicy{
		RetryOn:               on,
		RetriableStatusCodes:  statuses,
		RetriableHeaders:      headers,
		NumRetries:            wrapperspb.UInt32(0),
		RefreshClusterOnRetry: true,
		RetryBackOff:          &routev3.RetryPolicy_RetryBackOff{BaseInterval: duration(time.Millisecond), MaxInterval: duration(time.Millisecond)},
	}
}

func headerIs(name, value string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}},
	}}
}

// publicRoutes are the paths that are routed (API-1). A request leaves them for a
// decided route when shunt answers; what still goes out on one was let through by
// on_filter_failure: allow.
func publicRoutes(c *catalog.Catalog) []*routev3.Route {
	var out []*routev3.Route
	for _, p := range catalog.RoutedPaths {
		out = append(out, &routev3.Route{
			Name: "undecided",
			Match: &routev3.RouteMatch{
				PathSpecifier: &routev3.RouteMatch_Path{Path: p.Path},
				Headers:       []*routev3.HeaderMatcher{headerIs(":method", "POST")},
			},
			Action:               &routev3.Route_Route{Route: undecidedAction(c, p)},
			TypedPerFilterConfig: routedFilters(),
		})
	}
	return out
}

// undecidedAction sends a request that shunt could not decide to the first
// provider, as the client wrote it (SEC-5, on_filter_failure: allow). With deny
// Envoy has answered an error before it gets here.
func undecidedAction(c *catalog.Catalog, p catalog.RoutedPath) *routev3.RouteAction {
	first := c.Providers[0]
	return &routev3.RouteAction{
		ClusterSpecifier:     &routev3.RouteAction_Cluster{Cluster: names.ProviderCluster(first.Slug)},
		Timeout:              duration(0),
		IdleTimeout:          duration(first.Timeout.Idle),
		HostRewriteSpecifier: &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: yes()},
		RegexRewrite: &matcherv3.RegexMatchAndSubstitute{
			Pattern:      &matcherv3.RegexMatcher{Regex: "^" + p.Path},
			Substitution: first.Endpoint.Path + p.API.UpstreamPath(),
		},
	}
}

const routeAPI = "api"

// apiRoutes are answered by shunt itself (API-2 … API-5). What Go's HTTP server would
// refuse before shunt sees it, in a form of its own (API-6), does not get there: odd
// hosts, expectations, and paths with half an escape.
func apiRoutes() []*routev3.Route {
	to := func(m *routev3.RouteMatch) *routev3.Route {
		return &routev3.Route{
			Name: routeAPI, Match: m, RequestHeadersToRemove: []string{"expect"},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier:     &routev3.RouteAction_Cluster{Cluster: names.ClusterAPI},
				Timeout:              duration(messageTimeout), // SEC-5
				HostRewriteSpecifier: &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: "shunt"},
			}},
		}
	}
	var out []*routev3.Route
	for _, path := range names.APIPaths {
		out = append(out, to(&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: path}}))
	}
	for _, prefix := range names.APIPrefixes {
		out = append(out, notFound(&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: prefix + halfEscaped},
		}}))
		out = append(out, to(&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: prefix}}))
	}
	return out
}

// halfEscaped is the rest of a path with a % in it that no two hexadecimal digits follow.
const halfEscaped = `.*%(?:[^0-9A-Fa-f].*|[0-9A-Fa-f][^0-9A-Fa-f].*|[0-9A-Fa-f]?)`

func passthroughRoute(c *catalog.Catalog, p catalog.Passthrough) *routev3.Route {
	m := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: p.Path}}
	if p.Path == "" {
		m.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: p.Prefix}
	}
	return &routev3.Route{Name: "passthrough", Match: m, TypedPerFilterConfig: withoutJWT(c), Action: &routev3.Route_Route{Route: &routev3.RouteAction{
		ClusterSpecifier:     &routev3.RouteAction_Cluster{Cluster: passthroughName(p)},
		Timeout:              duration(0),
		HostRewriteSpecifier: &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: yes()},
	}}}
}

func notFound(m *routev3.RouteMatch) *routev3.Route {
	const body = `{"error":{"message":"no such endpoint","type":"invalid_request_error","param":null,"code":"not_found"}}`
	return &routev3.Route{
		Name:  "not_found",
		Match: m,
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: 404, Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: body}},
		}},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{overwrite("content-type", "application/json")},
	}
}
