package envoy

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// unlimited stands for "as many as this machine has": thousands of streams may be
// open to one provider, and the default of 1,024 would answer 503 instead. Load is
// shed by shunt, where a caller can be told so (SEC-4).
const unlimited = 1 << 20

func clusters(s *scene, o Options) ([]Named, error) {
	c := s.Catalog
	out := []Named{apiCluster(o)}
	if j := c.Identity.JWT; j != nil && j.JWKSURI != "" {
		jwks, err := jwksCluster(j, o)
		if err != nil {
			return nil, err
		}
		out = append(out, jwks)
	}
	if t := traced(c); t != nil {
		out = append(out, collectorCluster(t, o))
	}
	for _, p := range s.providers {
		out = append(out, providerCluster(c, p, o))
	}
	for _, p := range s.timed {
		out = append(out, timedCluster(c, p))
	}
	seen := map[string]bool{}
	for _, p := range c.Passthrough {
		if name := passthroughName(p); !seen[name] {
			seen[name] = true
			out = append(out, passthroughCluster(c, name, p, o))
		}
	}
	return out, nil
}

// boundless is more than any body (catalog's largest limits.body is 1 GiB) and the most
// that HTTP/2 takes for a window.
const boundless = 1<<31 - 1

// SidecarCluster is shunt's own gRPC server. It stands in the bootstrap, because
// ADS itself comes over it.
//
// Its buffers have no high-water mark that a body could reach. Envoy 1.40 dies of a
// null pointer when ext_proc as an upstream filter gets to one before the connection to
// the provider is there: a body of 4.5 MB at its second attempt was enough. Bodies are
// bounded by limits.body, and their number by what shunt takes on (SEC-4).
func SidecarCluster(o Options) *clusterv3.Cluster {
	cl := pipeCluster(names.ClusterExtProc, o.Socket)
	cl.PerConnectionBufferLimitBytes = u32(boundless)
	cl.TypedExtensionProtocolOptions = protocolOptions(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
						// The first is also the high-water mark of what is sent.
						InitialStreamWindowSize:     u32(boundless),
						InitialConnectionWindowSize: u32(boundless),
					},
				},
			},
		},
	})
	return cl
}

func apiCluster(o Options) *clusterv3.Cluster { return pipeCluster(names.ClusterAPI, o.APISocket) }

func pipeCluster(name, path string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ConnectTimeout:       duration(time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{
			{LbEndpoints: []*endpointv3.LbEndpoint{endpoint(pipe(path), "")}},
		}},
		CircuitBreakers: breakers(),
	}
}

func endpoint(a *corev3.Address, hostname string) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
		Endpoint: &endpointv3.Endpoint{Address: a, Hostname: hostname},
	}}
}

func breakers() *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections: u32(unlimited), MaxPendingRequests: u32(unlimited),
		MaxRequests: u32(unlimited), MaxRetries: u32(unlimited),
	}}}
}

func providerCluster(c *catalog.Catalog, p *catalog.Provider, o Options) *clusterv3.Cluster {
	name := names.ProviderCluster(p.Slug)
	cl := endpointCluster(name, p.Endpoint, o)
	cl.ConnectTimeout = duration(p.Timeout.Connect)
	cl.OutlierDetection = outliers()
	cl.TypedExtensionProtocolOptions = protocolOptions(upstreamProtocol(p.Endpoint, upstreamFilters(c, p, o)))
	return cl
}

// passthroughName is by the endpoint: a reload must not have a route and a cluster of the
// same number mean two endpoints, even for a moment.
func passthroughName(p catalog.Passthrough) string {
	return names.PassthroughCluster(p.Endpoint.Scheme + "://" + authority(p.Endpoint))
}

func passthroughCluster(c *catalog.Catalog, name string, p catalog.Passthrough, o Options) *clusterv3.Cluster {
	cl := endpointCluster(name, p.Endpoint, o)
	cl.ConnectTimeout = duration(5 * time.Second)
	cl.TypedExtensionProtocolOptions = protocolOptions(upstreamProtocol(p.Endpoint, []*hcmv3.HttpFilter{headerMutation(toPassthrough(c), nil), upstreamCodec()}))
	return cl
}

// endpointCluster reaches a host by name or address. A name has a second endpoint
// of lower priority that refuses connections: when the name does not resolve, Envoy
// would otherwise answer "no healthy upstream" at once and never try the next
// provider.
func endpointCluster(name string, e catalog.Endpoint, o Options) *clusterv3.Cluster {
	cl := &clusterv3.Cluster{
		Name:            name,
		CircuitBreakers: breakers(),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{
			{LbEndpoints: []*endpointv3.LbEndpoint{endpoint(socket(e.Host, uint32(e.Port)), authority(e))}},
		}},
	}
	if _, err := netip.ParseAddr(e.Host); err == nil {
		cl.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	} else {
		cl.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
		cl.DnsLookupFamily = clusterv3.Cluster_V4_PREFERRED
		cl.LoadAssignment.Endpoints = append(cl.LoadAssignment.Endpoints, &endpointv3.LocalityLbEndpoints{
			Priority:    1,
			LbEndpoints: []*endpointv3.LbEndpoint{endpoint(socket("127.0.0.1", refusingPort), authority(e))},
		})
	}
	if e.Scheme == "https" {
		cl.TransportSocket = tls(e, o.CAFile)
	}
	return cl
}

// refusingPort is tcpmux, which nothing serves: a connection to it fails at once.
const refusingPort = 1

// outliers takes single addresses of a provider with many out of rotation after
// connection failures. A provider with one address is never ejected: shunt's own
// cooldowns decide about whole providers, and a request fails only when it must
// (SEL-11).
func outliers() *clusterv3.OutlierDetection {
	return &clusterv3.OutlierDetection{
		SplitExternalLocalOriginErrors:  true,
		ConsecutiveLocalOriginFailure:   u32(5),
		Consecutive_5Xx:                 u32(5),
		EnforcingConsecutive_5Xx:        u32(0),
		EnforcingSuccessRate:            u32(0),
		EnforcingLocalOriginSuccessRate: u32(0),
		BaseEjectionTime:                duration(30 * time.Second),
		MaxEjectionPercent:              u32(50),
	}
}

// authority is the Host header for an endpoint: the port only where it is not the
// scheme's own.
func authority(e catalog.Endpoint) string {
	host := e.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if (e.Scheme == "https" && e.Port == 443) || (e.Scheme == "http" && e.Port == 80) {
		return host
	}
	return host + ":" + strconv.Itoa(int(e.Port))
}
