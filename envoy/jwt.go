package envoy

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

const (
	filterJWT   = "envoy.filters.http.jwt_authn"
	jwtProvider = "identity"
)

// bearerJWT is an authorization that holds a token of three parts. Anything else is
// an API key, which is shunt's to look at: both may come in the same header.
const bearerJWT = `(?i:bearer) +[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`

// bearerHeaders are where a token is looked for. Envoy compares the scheme with its
// case, HTTP does not: these are the spellings in use.
var bearerHeaders = []*jwtv3.JwtHeader{
	{Name: "authorization", ValuePrefix: "Bearer "},
	{Name: "authorization", ValuePrefix: "bearer "},
	{Name: "authorization", ValuePrefix: "BEARER "},
}

// jwtFilter verifies tokens and tells ext_proc and the API whose they are, in
// headers that a client cannot set (ID-1). A token that does not hold is 401.
func jwtFilter(c *catalog.Catalog) (*hcmv3.HttpFilter, error) {
	provider, err := jwtIssuer(c.Identity.JWT)
	if err != nil {
		return nil, err
	}
	return httpFilter(filterJWT, pack(&jwtv3.JwtAuthentication{
		Providers: map[string]*jwtv3.JwtProvider{jwtProvider: provider},
		Rules: []*jwtv3.RequirementRule{{
			Match: &routev3.RouteMatch{
				PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
				Headers: []*routev3.HeaderMatcher{{
					Name: "authorization",
					HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
						MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: bearerJWT}},
					}},
				}},
			},
			RequirementType: &jwtv3.RequirementRule_Requires{Requires: &jwtv3.JwtRequirement{
				RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: jwtProvider},
			}},
		}},
		StripFailureResponse: true,
	})), nil
}

func jwtIssuer(j *catalog.JWT) (*jwtv3.JwtProvider, error) {
	p := &jwtv3.JwtProvider{
		Issuer:            j.Issuer,
		Audiences:         j.Audiences,
		RequireExpiration: true,
		ClockSkewSeconds:  5,
		FromHeaders:       bearerHeaders,
		ClaimToHeaders: []*jwtv3.JwtClaimToHeader{
			claimToHeader(names.HeaderUser, j.UserClaim), claimToHeader(names.HeaderPlan, j.PlanClaim),
		},
	}
	if j.JWKSFile != "" {
		keys, err := j.KeySet(os.ReadFile)
		if err != nil {
			return nil, fmt.Errorf("identity.jwt.jwks.file: %w", err)
		}
		p.JwksSourceSpecifier = &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: keys},
		}}
		return p, nil
	}
	p.JwksSourceSpecifier = &jwtv3.JwtProvider_RemoteJwks{RemoteJwks: &jwtv3.RemoteJwks{
		HttpUri: &corev3.HttpUri{
			Uri:              j.JWKSURI,
			HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: names.ClusterJWKS},
			Timeout:          duration(5 * time.Second),
		},
		CacheDuration: duration(5 * time.Minute),
		AsyncFetch:    &jwtv3.JwksAsyncFetch{FastListener: true},
	}}
	return p, nil
}

// claimToHeader reads a claim: a path with dots, or the one name that a URL is.
func claimToHeader(header, claim string) *jwtv3.JwtClaimToHeader {
	out := &jwtv3.JwtClaimToHeader{HeaderName: header, ClaimName: claim}
	if strings.Contains(claim, "/") {
		out.ClaimName = ""
		out.ClaimPath = []*jwtv3.JwtClaimToHeader_PathSegment{{Key: claim}}
	}
	return out
}

// jwksCluster fetches remote keys.
func jwksCluster(j *catalog.JWT, o Options) (*clusterv3.Cluster, error) {
	u, err := url.Parse(j.JWKSURI)
	if err != nil {
		return nil, fmt.Errorf("identity.jwt.jwks.uri: %w", err)
	}
	e := catalog.Endpoint{Scheme: u.Scheme, Host: u.Hostname(), Port: 443}
	if u.Scheme == "http" {
		e.Port = 80
	}
	if _, port, err := net.SplitHostPort(u.Host); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("identity.jwt.jwks.uri: port %q: %w", port, err)
		}
		e.Port = uint16(n)
	}
	cl := endpointCluster(names.ClusterJWKS, e, o)
	cl.ConnectTimeout = duration(2 * time.Second)
	cl.TypedExtensionProtocolOptions = protocolOptions(upstreamProtocol(e, nil))
	return cl, nil
}

// withoutJWT is for routes whose tokens are somebody else's.
func withoutJWT(c *catalog.Catalog) map[string]*anypb.Any {
	if c.Identity.JWT == nil {
		return nil
	}
	return map[string]*anypb.Any{filterJWT: pack(&jwtv3.PerRouteConfig{
		RequirementSpecifier: &jwtv3.PerRouteConfig_Disabled{Disabled: true},
	})}
}
