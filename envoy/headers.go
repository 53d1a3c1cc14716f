package envoy

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

func remove(header string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: header}}
}

func removePrefix(prefix string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{
		RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{
			KeyMatcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}},
		},
	}}
}

// set overwrites a header; an empty value leaves the header alone.
func set(header, format string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: overwrite(header, format)}}
}

// ifAbsent leaves a header that is there.
func ifAbsent(header, format string) *mutationv3.HeaderMutation {
	o := overwrite(header, format)
	o.AppendAction = corev3.HeaderValueOption_ADD_IF_ABSENT
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: o}}
}

func overwrite(header, format string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: header, Value: format},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// sanitize runs before the first route match, so nothing that a client claims in
// an internal header is ever believed (SEC-1), and the request id is ours
// (BILL-1).
func sanitize(c *catalog.Catalog) *corev3.TypedExtensionConfig {
	m := []*mutationv3.HeaderMutation{remove(names.HeaderRequestID), remove(names.HeaderExplainAsked), removePrefix("x-envoy-")}
	if c.Routing.Explain {
		m = append(m, set(names.HeaderExplainAsked, "%REQ("+names.HeaderExplain+")%"))
	}
	m = append(m, removePrefix(names.Prefix))
	return extension("envoy.http.early_header_mutation.header_mutation", &earlyv3.HeaderMutation{Mutations: m})
}

// toProvider is what no provider gets to see: the client's credentials and
// address, shunt's and Envoy's own headers, and an accept-encoding that would hide
// the usage from Envoy.
func toProvider(c *catalog.Catalog) []*mutationv3.HeaderMutation {
	gone := []string{
		"authorization", "proxy-authorization", "x-api-key", "api-key", "openai-organization", "openai-project",
		"cookie", "accept-encoding",
		"forwarded", "via", "te", "trailer", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "fastly-client-ip",
		names.HeaderProvider, names.HeaderVariant, names.HeaderBillingMode, names.HeaderExplainAsked,
		names.HeaderFirstByte, names.HeaderTimeout,
	}
	gone = append(gone, identityHeaders(c)...)
	m := []*mutationv3.HeaderMutation{removePrefix(names.Prefix), removePrefix("x-envoy-"), removePrefix("x-forwarded-")}
	for _, h := range gone {
		m = append(m, remove(h))
	}
	return m
}

// toPassthrough is what the endpoint of a passthrough path does not get to see: shunt's
// and Envoy's own headers, and those of a trusted edge. Everything else is the client's.
func toPassthrough(c *catalog.Catalog) []*mutationv3.HeaderMutation {
	m := []*mutationv3.HeaderMutation{removePrefix(names.Prefix), removePrefix("x-envoy-")}
	if t := c.Identity.Trusted; t != nil {
		for _, h := range []string{t.User, t.Session, t.Plan, t.SecretHeader} {
			if h != "" {
				m = append(m, remove(h))
			}
		}
	}
	return m
}

// identityHeaders are the headers that say who a caller is (ID-1).
func identityHeaders(c *catalog.Catalog) []string {
	h := []string{c.Identity.APIKeyHeader}
	if t := c.Identity.Trusted; t != nil {
		h = append(h, t.User, t.Session, t.Plan, t.SecretHeader)
	}
	out := h[:0]
	for _, name := range h {
		if name != "" && name != "authorization" {
			out = append(out, name)
		}
	}
	return out
}

// fromProvider is what a client does not get of a provider's answer: cookies and
// account names of the operator's, and anything that claims to be internal.
func fromProvider(slug string) []*mutationv3.HeaderMutation {
	return []*mutationv3.HeaderMutation{
		removePrefix(names.Prefix), removePrefix("x-envoy-"),
		remove("set-cookie"), remove("alt-svc"), remove(names.HeaderAttempts),
		remove("openai-organization"), remove("openai-project"),
		set(names.HeaderProvider, slug), // FALL-4
	}
}
