package telemetry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/shunt-gateway/shunt/catalog"
)

// collector is where OTLP goes. Every setting is the configuration's: the exporters
// would read the environment for what they are not told.
type collector struct {
	cfg     *catalog.OTLP
	tls     *tls.Config
	headers secretHeaders
}

func newCollector(cfg *catalog.OTLP, resolve func(catalog.Secret) (string, error)) (*collector, error) {
	c := &collector{cfg: cfg, headers: secretHeaders{cfg.Headers, resolve}}
	if cfg.Endpoint.Scheme != "https" {
		return c, nil
	}
	c.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if f := cfg.TLS.CA; f != "" {
		pem, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		c.tls.RootCAs = x509.NewCertPool()
		if !c.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca: no certificate in %s", f)
		}
	}
	if cfg.TLS.Cert != "" {
		cert, err := tls.LoadX509KeyPair(cfg.TLS.Cert, cfg.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("tls.cert: %w", err)
		}
		c.tls.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

func (c *collector) address() string {
	return net.JoinHostPort(c.cfg.Endpoint.Host, strconv.Itoa(int(c.cfg.Endpoint.Port)))
}

func (c *collector) url(signal string) string {
	return c.cfg.Endpoint.Scheme + "://" + c.address() + c.cfg.Endpoint.Path + "/v1/" + signal
}

func (c *collector) credentials() credentials.TransportCredentials {
	if c.tls == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(c.tls)
}

func (c *collector) client() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = c.tls
	return &http.Client{
		Transport: headerTransport{c.headers, transport}, Timeout: c.cfg.Timeout,
		// Credentials are for this collector, not for one that it points to.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (c *collector) metrics(ctx context.Context) (sdkmetric.Reader, error) {
	var to sdkmetric.Exporter
	var err error
	if c.cfg.Protocol == catalog.OTLPHTTP {
		to, err = otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(c.url("metrics")), otlpmetrichttp.WithHTTPClient(c.client()),
			otlpmetrichttp.WithHeaders(nil), otlpmetrichttp.WithTimeout(c.cfg.Timeout), otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression))
	} else {
		to, err = otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(c.address()), otlpmetricgrpc.WithTLSCredentials(c.credentials()),
			otlpmetricgrpc.WithHeaders(nil), otlpmetricgrpc.WithTimeout(c.cfg.Timeout), otlpmetricgrpc.WithCompressor("gzip"),
			otlpmetricgrpc.WithDialOption(grpc.WithPerRPCCredentials(c.headers)))
	}
	if err != nil {
		return nil, err
	}
	return sdkmetric.NewPeriodicReader(to, sdkmetric.WithInterval(c.cfg.Interval), sdkmetric.WithTimeout(c.cfg.Timeout)), nil
}

func (c *collector) traces(ctx context.Context) (sdktrace.SpanProcessor, error) {
	var to sdktrace.SpanExporter
	var err error
	if c.cfg.Protocol == catalog.OTLPHTTP {
		to, err = otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(c.url("traces")), otlptracehttp.WithHTTPClient(c.client()),
			otlptracehttp.WithHeaders(nil), otlptracehttp.WithTimeout(c.cfg.Timeout), otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	} else {
		to, err = otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(c.address()), otlptracegrpc.WithTLSCredentials(c.credentials()),
			otlptracegrpc.WithHeaders(nil), otlptracegrpc.WithTimeout(c.cfg.Timeout), otlptracegrpc.WithCompressor("gzip"),
			otlptracegrpc.WithDialOption(grpc.WithPerRPCCredentials(c.headers)))
	}
	if err != nil {
		return nil, err
	}
	return sdktrace.NewBatchSpanProcessor(to), nil
}

// secretHeaders are resolved for each request: a file that changes is read again, and
// no exporter keeps what it must not show.
type secretHeaders struct {
	list    []catalog.SecretHeader
	resolve func(catalog.Secret) (string, error)
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (h secretHeaders) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	out := make(map[string]string, len(h.list))
	for _, one := range h.list {
		value, err := h.resolve(one.Value)
		if err != nil {
			return nil, fmt.Errorf("telemetry.otlp.headers.%s: %w", one.Name, err)
		}
		out[one.Name] = value
	}
	return out, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: a collector may
// stand on this machine.
func (secretHeaders) RequireTransportSecurity() bool { return false }

// headerTransport adds the headers to each request.
type headerTransport struct {
	headers secretHeaders
	next    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t headerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	headers, err := t.headers.GetRequestMetadata(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	return t.next.RoundTrip(r)
}
