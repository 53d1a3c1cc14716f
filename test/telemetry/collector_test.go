package telemetry

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	colmetricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // what shunt sends is compressed
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/shunt-gateway/shunt/test/harness"
)

// collector takes OTLP over gRPC and HTTP and keeps it.
type collector struct {
	colmetricsv1.UnimplementedMetricsServiceServer
	coltracev1.UnimplementedTraceServiceServer

	mu      sync.Mutex
	spans   []span
	metrics map[string]*metricsv1.Metric // the newest, by name
	keys    map[string]bool              // x-otlp-key of requests; "" for none
}

// span is one as it came, and who sent it.
type span struct {
	*tracev1.Span
	service string
}

// attr is an attribute's value, "" where there is none; lists have commas.
func (s span) attr(name string) string { return text(s.GetAttributes(), name) }

func text(list []*commonv1.KeyValue, name string) string {
	for _, kv := range list {
		if kv.GetKey() != name {
			continue
		}
		switch v := kv.GetValue().GetValue().(type) {
		case *commonv1.AnyValue_ArrayValue:
			var all []string
			for _, one := range v.ArrayValue.GetValues() {
				all = append(all, one.GetStringValue())
			}
			return strings.Join(all, ",")
		case *commonv1.AnyValue_BoolValue:
			if v.BoolValue {
				return "true"
			}
			return "false"
		case *commonv1.AnyValue_IntValue:
			return strings.Repeat("I", int(v.IntValue))
		}
		return kv.GetValue().GetStringValue()
	}
	return ""
}

// startCollector serves a collector on a free port until the test ends.
func startCollector(t *testing.T) (c *collector, addr string) {
	t.Helper()
	c = &collector{metrics: map[string]*metricsv1.Metric{}, keys: map[string]bool{}}
	l, err := harness.Listen()
	if err != nil {
		t.Fatal(err)
	}
	rpc := grpc.NewServer()
	colmetricsv1.RegisterMetricsServiceServer(rpc, metricsService{c})
	coltracev1.RegisterTraceServiceServer(rpc, traceService{c})
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("content-type"), "application/grpc") {
			rpc.ServeHTTP(w, r)
			return
		}
		if err := c.post(r); err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); rpc.Stop(); <-done })
	return c, l.Addr().String()
}

type (
	metricsService struct{ *collector }
	traceService   struct{ *collector }
)

func (s metricsService) Export(ctx context.Context, r *colmetricsv1.ExportMetricsServiceRequest) (*colmetricsv1.ExportMetricsServiceResponse, error) {
	s.take(keyOf(ctx), r.GetResourceMetrics(), nil)
	return &colmetricsv1.ExportMetricsServiceResponse{}, nil
}

func (s traceService) Export(ctx context.Context, r *coltracev1.ExportTraceServiceRequest) (*coltracev1.ExportTraceServiceResponse, error) {
	s.take(keyOf(ctx), nil, r.GetResourceSpans())
	return &coltracev1.ExportTraceServiceResponse{}, nil
}

func keyOf(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	return strings.Join(md.Get("x-otlp-key"), ",")
}

// post is OTLP over HTTP.
func (c *collector) post(r *http.Request) error {
	body := r.Body
	if r.Header.Get("content-encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return err
		}
		body = z
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var metrics colmetricsv1.ExportMetricsServiceRequest
	var traces coltracev1.ExportTraceServiceRequest
	switch r.URL.Path {
	case "/base/v1/metrics":
		err = proto.Unmarshal(data, &metrics)
	case "/base/v1/traces":
		err = proto.Unmarshal(data, &traces)
	default:
		err = errors.New("not a path of OTLP")
	}
	c.take(r.Header.Get("x-otlp-key"), metrics.GetResourceMetrics(), traces.GetResourceSpans())
	return err
}

func (c *collector) take(key string, metrics []*metricsv1.ResourceMetrics, traces []*tracev1.ResourceSpans) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys[key] = true
	for _, r := range metrics {
		for _, scope := range r.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				c.metrics[m.GetName()] = m
			}
		}
	}
	for _, r := range traces {
		service := text(r.GetResource().GetAttributes(), "service.name")
		for _, scope := range r.GetScopeSpans() {
			for _, one := range scope.GetSpans() {
				c.spans = append(c.spans, span{one, service})
			}
		}
	}
}

// all is what has come so far.
func (c *collector) all() []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]span(nil), c.spans...)
}

func (c *collector) metric(name string) *metricsv1.Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.metrics[name]
}

func (c *collector) keysSeen() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[string]bool{}
	for k := range c.keys {
		seen[k] = true
	}
	return seen
}
