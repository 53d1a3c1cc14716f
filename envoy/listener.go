package envoy

import (
	"fmt"
	"net"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// bufferLimit is what Envoy may hold of one request or answer: a body of the greatest
// size after shunt has rewritten it for an upstream model of any name, or a provider's
// refusal that is to be replaced (API-6).
func bufferLimit(c *catalog.Catalog) uint32 { return uint32(max(c.Limits.Body, 4<<20) + 64<<10) }

func listener(s *scene, o Options) (*listenerv3.Listener, error) {
	c := s.Catalog
	host, portText, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen %q: %w", c.Listen, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("listen %q: port: %w", c.Listen, err)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	manager, err := connectionManager(s, o)
	if err != nil {
		return nil, err
	}
	return &listenerv3.Listener{
		Name:                          names.Listener,
		Address:                       socket(host, uint32(port)),
		PerConnectionBufferLimitBytes: u32(bufferLimit(c)),
		FilterChains: []*listenerv3.FilterChain{{
			Filters: []*listenerv3.Filter{{
				Name:       "envoy.filters.network.http_connection_manager",
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(manager)},
			}},
		}},
	}, nil
}

func connectionManager(s *scene, o Options) (*hcmv3.HttpConnectionManager, error) {
	c := s.Catalog
	filters, err := httpFilters(c, o)
	if err != nil {
		return nil, err
	}
	m := &hcmv3.HttpConnectionManager{
		StatPrefix:  "shunt",
		HttpFilters: filters,
		// A caller on this machine or network is a client like any other (SEC-1).
		UseRemoteAddress:              yes(),
		InternalAddressConfig:         &hcmv3.HttpConnectionManager_InternalAddressConfig{},
		SkipXffAppend:                 true,
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{sanitize(c)},
		GenerateRequestId:             yes(),
		AlwaysSetRequestIdInResponse:  true, // FALL-4
		NormalizePath:                 yes(),
		PathWithEscapedSlashesAction:  hcmv3.HttpConnectionManager_KEEP_UNCHANGED, // API-3
		// Streams last as long as providers send; each attempt has its own idle
		// timeout on the route. A client that never finishes its request does not.
		StreamIdleTimeout: duration(0),
		RequestTimeout:    duration(5 * time.Minute),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout: duration(10 * time.Minute),
		},
		AccessLog:        requestLog(c, o),
		AccessLogOptions: heartbeats(c),
		LocalReplyConfig: localReplies(c),
		ServerName:       "envoy",
	}
	trace(m, c)
	if o.static {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes(s)}
	} else {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			RouteConfigName: names.RouteConfig, ConfigSource: adsSource(),
		}}
	}
	return m, nil
}
