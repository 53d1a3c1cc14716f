package envoy

import (
	"math"
	"net"
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	injectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	requestidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	samplersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	tagsv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// traced is the collector that spans go to, nil: nobody gets any, and nothing is
// done about them.
func traced(c *catalog.Catalog) *catalog.OTLP {
	if o := c.Telemetry.OTLP; o != nil && o.Traces {
		return o
	}
	return nil
}

// trace has the connection manager make a span of each request, one of each question
// to shunt and one of each attempt. Which are sampled is the tracer's to say: by the
// request id, Envoy would pass over those that a client wants to see.
func trace(m *hcmv3.HttpConnectionManager, c *catalog.Catalog) {
	o := traced(c)
	if o == nil {
		return
	}
	m.Tracing = &hcmv3.HttpConnectionManager_Tracing{
		SpawnUpstreamSpan: yes(),
		// A query may hold a key (SEC-2).
		CustomTags: []*tagsv3.CustomTag{{Tag: "http.url", Type: &tagsv3.CustomTag_Value{Value: "%PATH(NQ)%"}}},
		Provider: &tracev3.Tracing_Http{
			Name:       "envoy.tracers.opentelemetry",
			ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: pack(tracer(o))},
		},
	}
	// The id is the event's (BILL-1): whether there is a trace must not show in it.
	m.RequestIdExtension = &hcmv3.RequestIDExtension{TypedConfig: pack(&requestidv3.UuidRequestIdConfig{
		PackTraceReason: no(), UseRequestIdForTraceSampling: no(),
	})}
}

func tracer(o *catalog.OTLP) *tracev3.OpenTelemetryConfig {
	t := &tracev3.OpenTelemetryConfig{ServiceName: "shunt-envoy", Sampler: sampler(o.Sample)}
	if o.Protocol == catalog.OTLPHTTP {
		t.HttpService = &corev3.HttpService{HttpUri: &corev3.HttpUri{
			Uri:              o.Endpoint.Scheme + "://" + net.JoinHostPort(o.Endpoint.Host, strconv.Itoa(int(o.Endpoint.Port))) + o.Endpoint.Path + "/v1/traces",
			HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: names.ClusterOTLP},
			Timeout:          duration(o.Timeout),
		}}
		return t
	}
	t.GrpcService = &corev3.GrpcService{
		Timeout: duration(o.Timeout),
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: names.ClusterOTLP, Authority: authority(o.Endpoint)},
		},
	}
	return t
}

// sampler heeds a client's own decision; of the other requests it samples a share.
func sampler(share float64) *corev3.TypedExtensionConfig {
	return extension("envoy.tracers.opentelemetry.samplers.parent_based", &samplersv3.ParentBasedSamplerConfig{
		WrappedSampler: extension("envoy.tracers.opentelemetry.samplers.trace_id_ratio_based", &samplersv3.TraceIdRatioBasedSamplerConfig{
			SamplingPercentage: &typev3.FractionalPercent{
				Numerator: uint32(math.Round(share * 1e6)), Denominator: typev3.FractionalPercent_MILLION,
			},
		}),
	})
}

// collectorCluster is the way to the collector. Its headers are put in there, out of
// Envoy's secrets, since the tracer's own configuration would show them (SEC-2).
func collectorCluster(o *catalog.OTLP, opt Options) *clusterv3.Cluster {
	if o.TLS.CA != "" {
		opt.CAFile = o.TLS.CA
	}
	cl := endpointCluster(names.ClusterOTLP, o.Endpoint, opt)
	cl.ConnectTimeout = duration(2 * time.Second)
	if o.Endpoint.Scheme == "https" && o.TLS.Cert != "" {
		cl.TransportSocket = tls(o.Endpoint, opt.CAFile, &tlsv3.TlsCertificate{
			CertificateChain: filename(o.TLS.Cert), PrivateKey: filename(o.TLS.Key),
		})
	}
	var filters []*hcmv3.HttpFilter
	for _, h := range o.Headers {
		filters = append(filters, headerFromSecret(h, opt))
	}
	p := upstreamProtocol(o.Endpoint, append(filters, upstreamCodec()))
	if o.Protocol == catalog.OTLPGRPC {
		p.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
				},
			},
		}
	}
	cl.TypedExtensionProtocolOptions = protocolOptions(p)
	return cl
}

func filename(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}

func headerFromSecret(h catalog.SecretHeader, o Options) *hcmv3.HttpFilter {
	value := &tlsv3.SdsSecretConfig{Name: otlpSecret(h)}
	if !o.static {
		value.SdsConfig = adsSource()
	}
	return httpFilter("envoy.filters.http.credential_injector/"+h.Name, pack(&injectorv3.CredentialInjector{
		Overwrite:  true,
		Credential: extension("envoy.http.injected_credentials.generic", &genericv3.Generic{Credential: value, Header: h.Name}),
	}))
}

func otlpSecret(h catalog.SecretHeader) string { return "otlp/" + h.Name }

// otlpSecrets are the headers' values.
func otlpSecrets(c *catalog.Catalog, source SecretSource) ([]Named, error) {
	o := traced(c)
	if o == nil {
		return nil, nil
	}
	var out []Named
	for _, h := range o.Headers {
		data, err := source("telemetry.otlp.headers."+h.Name, h.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, genericSecret(otlpSecret(h), data))
	}
	return out, nil
}
