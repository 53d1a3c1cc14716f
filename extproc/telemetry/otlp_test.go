package telemetry

import (
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	colmetricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// received is what a collector got.
type received struct {
	mu      sync.Mutex
	paths   map[string]string // and the key that came along
	metrics []string
	spans   []string
}

func (r *received) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	z, err := gzip.NewReader(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, err := io.ReadAll(z)
	var metrics colmetricsv1.ExportMetricsServiceRequest
	var traces coltracev1.ExportTraceServiceRequest
	if strings.HasSuffix(req.URL.Path, "/metrics") {
		err = errors.Join(err, proto.Unmarshal(body, &metrics))
	} else {
		err = errors.Join(err, proto.Unmarshal(body, &traces))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paths[req.URL.Path] = req.Header.Get("authorization")
	for _, res := range metrics.GetResourceMetrics() {
		for _, m := range res.GetScopeMetrics()[0].GetMetrics() {
			r.metrics = append(r.metrics, m.GetName())
		}
	}
	for _, res := range traces.GetResourceSpans() {
		for _, s := range res.GetScopeSpans()[0].GetSpans() {
			r.spans = append(r.spans, s.String())
		}
	}
}

func endpointOf(t *testing.T, text string) catalog.Endpoint {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return catalog.Endpoint{Scheme: u.Scheme, Host: host, Port: uint16(n), Path: u.Path}
}

const sampledParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// What is there goes out at the end, over TLS, with the headers of the configuration
// and none of the environment.
func TestPush(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=of-the-environment")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	got := &received{paths: map[string]string{}}
	server := httptest.NewTLSServer(got)
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	catalogOf := testCatalog(t, 1)
	tel := start(t, catalog.Telemetry{Series: 2000, OTLP: &catalog.OTLP{
		Protocol: catalog.OTLPHTTP, Endpoint: endpointOf(t, server.URL+"/base"), TLS: catalog.ClientTLS{CA: ca}, Timeout: time.Minute,
		Metrics: true, Traces: true, Interval: time.Hour, Headers: []catalog.SecretHeader{{Name: "authorization"}},
	}})
	tel.patience = time.Minute // on a busy machine; it is not tested here
	tel.Adopt(catalogOf)
	tel.Settled(quote("m0", "p", "up0"), ended, event("p", "up0"))
	sampled := metadata.NewIncomingContext(context.Background(), metadata.Pairs("traceparent", sampledParent))
	if id := TraceID(sampled); id != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("the trace is %q", id)
	}
	tel.Decided(sampled, decided(catalogOf))
	refused := decided(catalogOf)
	refused.Decision, refused.Refusal = nil, &policy.Error{Status: 400, Code: policy.CodeMissingModel, Message: "secret"}
	tel.Decided(sampled, refused)
	tel.Decided(context.Background(), decided(catalogOf)) // nobody's trace
	if err := tel.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got.mu.Lock()
	defer got.mu.Unlock()
	for _, path := range []string{"/base/v1/metrics", "/base/v1/traces"} {
		if key, ok := got.paths[path]; !ok || key != "s" { // what start resolves everything to
			t.Errorf("%s got the key %q, %v", path, key, ok)
		}
	}
	if all := strings.Join(got.metrics, " "); !strings.Contains(all, "gen_ai.client.token.usage") {
		t.Errorf("metrics are %s", all)
	}
	if all := strings.Join(got.spans, "\n"); len(got.spans) != 2 || strings.Contains(all, "secret") || !strings.Contains(all, "missing_model") {
		t.Errorf("spans are %s", all)
	}
}

// A collector that is away costs neither the start nor a clean end.
func TestCollectorAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // it takes connections and says nothing
	for _, protocol := range []catalog.OTLPProtocol{catalog.OTLPGRPC, catalog.OTLPHTTP} {
		tel := start(t, catalog.Telemetry{Series: 2000, OTLP: &catalog.OTLP{
			Protocol: protocol, Endpoint: endpointOf(t, "http://"+l.Addr().String()), Timeout: time.Minute, Metrics: true, Traces: true, Interval: time.Hour,
		}})
		tel.patience = time.Millisecond
		if err := tel.Close(t.Context()); err != nil {
			t.Errorf("protocol %d: %v", protocol, err)
		}
	}
}

// What is wrong with files of the collector's TLS is said at the start.
func TestBadTLS(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, files := range map[string]catalog.ClientTLS{
		"tls.ca: open":           {CA: filepath.Join(dir, "none.pem")},
		"tls.ca: no certificate": {CA: empty},
		"tls.cert":               {Cert: empty, Key: empty},
	} {
		_, err := Start(t.Context(), Options{Log: slog.New(slog.DiscardHandler), Config: catalog.Telemetry{
			Series: 1, OTLP: &catalog.OTLP{Endpoint: catalog.Endpoint{Scheme: "https", Host: "h", Port: 1}, TLS: files, Metrics: true, Interval: time.Hour},
		}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
