package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"google.golang.org/grpc/metadata"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Check(m.Run())) }

func testCatalog(t testing.TB, offers int) *catalog.Catalog {
	t.Helper()
	var b strings.Builder
	b.WriteString("providers: {p: {endpoint: \"https://p.example/v1\"}, q: {endpoint: \"http://127.0.0.1:8000\"}}\nmodels:\n")
	for i := range offers {
		fmt.Fprintf(&b, "  m%d: {offers: [{provider: p, model: up%d}, {provider: q, model: uq%d}]}\n", i, i, i)
	}
	c, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Data: []byte(b.String()), Dir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t testing.TB, cfg catalog.Telemetry) *Telemetry {
	t.Helper()
	tel, err := Start(t.Context(), Options{Config: cfg, Log: slog.New(slog.DiscardHandler), Resolve: func(catalog.Secret) (string, error) { return "s", nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tel.Close(context.Background()) })
	return tel
}

// lines of /metrics that begin so.
func lines(t testing.TB, tel *Telemetry, prefix string) []string {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d, %v: %s", w.Code, err, text)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, prefix) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

func count(t testing.TB, tel *Telemetry, metric string, labels ...string) (sum float64) {
	t.Helper()
	for _, line := range lines(t, tel, metric+"{") {
		matches := true
		for _, l := range labels {
			matches = matches && strings.Contains(line, l)
		}
		if matches {
			var n float64
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n); err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

func quote(model, provider, upstream string) *billing.Quote {
	return &billing.Quote{ID: "id", Model: model, Stream: true, Offers: []billing.Offer{{Provider: provider, Upstream: upstream}}}
}

func event(provider, upstream string) *billing.Data {
	return &billing.Data{
		API: "chat", Stream: true, Status: billing.Completed, Provider: billing.Text(provider), UpstreamModel: billing.Text(upstream),
		Attempts: []billing.AttemptData{{Provider: billing.Text(provider), UpstreamModel: billing.Text(upstream), Outcome: billing.OutcomeOK}},
		Usage:    billing.UsageData{Source: billing.Reported, PromptTokens: billing.Known(10), CompletionTokens: billing.Known(5)},
		Amount:   decimal.New(5, -1), Currency: "USD",
	}
}

var ended = &billing.Record{Status: 200, AttemptCount: 1, Duration: 2 * time.Second, TTFT: time.Second}

// 10,000 names of models and 10,000 of providers that are in no catalog, wherever they
// come from, make one series of each metric that has such a label.
func TestHostileNames(t *testing.T) {
	tel := start(t, catalog.Telemetry{Series: 2000})
	tel.Adopt(testCatalog(t, 1))
	tel.Settled(quote("m0", "p", "up0"), ended, event("p", "up0"))
	const n = 10_000
	for i := range n {
		model, provider := fmt.Sprintf("evil-model-%d", i), fmt.Sprintf("evil-provider-%d", i)
		tel.Settled(quote(model, "p", "up0"), ended, event("p", "up0"))
		tel.Settled(quote("m0", provider, model), ended, event(provider, model))
		tel.Failed(&billing.Attempt{Provider: provider, Outcome: billing.OutcomeTimeout})
		tel.Decided(context.Background(), &extproc.Outcome{
			RequestID: model, Refusal: &policy.Error{Status: 404, Code: policy.CodeModelNotFound, Message: model},
		})
	}
	if evil := lines(t, tel, ""); strings.Contains(strings.Join(evil, "\n"), "evil") {
		t.Errorf("/metrics shows a name that is not in the catalog")
	}
	for metric, want := range map[string]int{
		"gen_ai_client_operation_duration_seconds_count{": 3, // m0 at p; other at p; m0 at other
		"gen_ai_client_token_usage_count{":                6,
		"shunt_tokens_total{":                             6,
		"shunt_attempts_total{":                           3, // p, other; other's timeouts
		"shunt_refusals_total{":                           1,
	} {
		if got := lines(t, tel, metric); len(got) != want {
			t.Errorf("%d series of %s, want %d:\n%s", len(got), metric, want, strings.Join(got, "\n"))
		}
	}
	if got := count(t, tel, "shunt_requests_total"); got != 2*n+1 {
		t.Errorf("%v requests, want %d", got, 2*n+1)
	}
}

// A catalog with more offers than telemetry.series has the rest in one series, and
// loses no count.
func TestSeriesAreBounded(t *testing.T) {
	tel := start(t, catalog.Telemetry{Series: 50})
	tel.Adopt(testCatalog(t, 200))
	for i := range 200 {
		tel.Settled(quote(fmt.Sprintf("m%d", i), "p", fmt.Sprintf("up%d", i)), ended, event("p", fmt.Sprintf("up%d", i)))
	}
	const metric = "gen_ai_client_operation_duration_seconds_count"
	if got := lines(t, tel, metric+"{"); len(got) != 50 {
		t.Errorf("%d series, want 50", len(got))
	}
	if all, rest := count(t, tel, metric), count(t, tel, metric, `otel_metric_overflow="true"`); all != 200 || rest != 151 {
		t.Errorf("%v operations, %v of them in the series for the rest; want 200 and 151", all, rest)
	}
}

// Every attempt is an operation at its own provider; what the first ones took is not
// the last one's.
func TestAttempts(t *testing.T) {
	tel := start(t, catalog.Telemetry{Series: 2000})
	tel.Adopt(testCatalog(t, 2))
	q := quote("m0", "p", "up0")
	q.Offers = append(q.Offers, billing.Offer{Provider: "q", Upstream: "uq1", Model: "m1"})
	d := event("q", "uq1")
	d.Attempts = []billing.AttemptData{
		{Provider: "p", UpstreamModel: "up0", Outcome: billing.OutcomeStatus, Status: billing.Known(503), DurationMS: billing.Known(1500)},
		{Provider: "q", UpstreamModel: "uq1", Outcome: billing.OutcomeOK, Status: billing.Known(200)},
	}
	tel.Failed(&billing.Attempt{Provider: "p", Outcome: billing.OutcomeStatus, Status: 503})
	tel.Settled(q, &billing.Record{Status: 200, AttemptCount: 2, Duration: 3 * time.Second, TTFT: 2 * time.Second}, d)
	for _, c := range []struct {
		metric string
		labels []string
		want   float64
	}{
		{"gen_ai_client_operation_duration_seconds_sum", []string{`gen_ai_provider_name="p"`, `error_type="503"`, `gen_ai_request_model="m0"`}, 1.5},
		{"gen_ai_client_operation_duration_seconds_sum", []string{`gen_ai_provider_name="q"`, `gen_ai_request_model="m1"`, `server_address="127.0.0.1"`, `server_port="8000"`}, 1.5},
		{"gen_ai_client_operation_time_to_first_chunk_seconds_sum", []string{`gen_ai_provider_name="q"`}, 0.5},
		{"shunt_request_duration_seconds_sum", nil, 3},
		{"shunt_attempts_total", []string{`provider="p"`, `outcome="server"`}, 1},
		{"shunt_attempts_total", []string{`provider="q"`, `outcome="ok"`}, 1},
		{"shunt_attempts_total", nil, 2},
		{"shunt_requests_total", []string{`attempts="more"`}, 1},
	} {
		if got := count(t, tel, c.metric, c.labels...); got != c.want {
			t.Errorf("%s%v is %v, want %v", c.metric, c.labels, got, c.want)
		}
	}
}

// How a request ended shows as the conventions ask, and what a provider did not report
// is no token of theirs.
func TestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*billing.Data, *billing.Record)
		class  string
		tokens float64
	}{
		"completed": {func(*billing.Data, *billing.Record) {}, "", 15},
		"cancelled": {func(d *billing.Data, _ *billing.Record) { d.Status = billing.Cancelled }, "cancelled", 15},
		"error in it": {func(d *billing.Data, r *billing.Record) {
			d.Status, r.StreamError, d.Usage = billing.Failed, true, billing.UsageData{Source: billing.None}
		}, "error_answer", 0},
		"estimated":  {func(d *billing.Data, _ *billing.Record) { d.Usage.Source = billing.Estimated }, "", 0},
		"odd status": {func(d *billing.Data, _ *billing.Record) { end(d, billing.OutcomeStatus, 599) }, "5xx", 15},
		"no status":  {func(d *billing.Data, _ *billing.Record) { end(d, billing.OutcomeStatus, 70000) }, "_OTHER", 15},
		"reset":      {func(d *billing.Data, _ *billing.Record) { end(d, billing.OutcomeReset, 0) }, "reset", 15},
	} {
		t.Run(name, func(t *testing.T) {
			tel := start(t, catalog.Telemetry{Series: 2000})
			tel.Adopt(testCatalog(t, 1))
			d, r := event("p", "up0"), *ended
			c.change(d, &r)
			tel.Settled(quote("m0", "p", "up0"), &r, d)
			got := lines(t, tel, "gen_ai_client_operation_duration_seconds_count{")
			if len(got) != 1 || strings.Contains(got[0], "error_type") != (c.class != "") || c.class != "" && !strings.Contains(got[0], `error_type="`+c.class+`"`) {
				t.Errorf("error_type is not %q: %v", c.class, got)
			}
			if got := count(t, tel, "gen_ai_client_token_usage_sum"); got != c.tokens {
				t.Errorf("%v tokens, want %v", got, c.tokens)
			}
		})
	}
}

func end(d *billing.Data, o billing.Outcome, status int64) {
	d.Status, d.Attempts[0].Outcome, d.Attempts[0].Status = billing.Failed, o, billing.Known(status)
}

// Before there is a catalog nothing breaks, and what ended without a report is counted.
func TestNothingKnown(t *testing.T) {
	tel := start(t, catalog.Telemetry{Series: 2000})
	tel.Settled(quote("m0", "p", "up0"), ended, event("p", "up0"))
	d := event("", "")
	d.Status, d.Attempts = billing.Unsettled, nil
	tel.Settled(quote("m0", "p", "up0"), nil, d)
	if got := count(t, tel, "shunt_requests_total", `status="unsettled"`); got != 1 {
		t.Errorf("%v unsettled requests, want 1", got)
	}
	if got := count(t, tel, "gen_ai_client_operation_duration_seconds_count", `gen_ai_provider_name="other"`); got != 1 {
		t.Errorf("%v operations of others, want 1", got)
	}
}

// decided is an answer such as most are.
func decided(c *catalog.Catalog) *extproc.Outcome {
	now := time.Now()
	offers := c.Offers()
	return &extproc.Outcome{
		Began: now, Ended: now.Add(200 * time.Microsecond), RequestID: "id", Snapshot: &policy.Snapshot{Catalog: c},
		Decision: &policy.Decision{
			Kind: policy.KindExplicit, Model: c.Models[0], Attempts: []policy.Attempt{{Offer: offers[0], Reason: policy.Pinned}},
			Left: []policy.LeftOut{{Offer: offers[1], Reason: policy.NotPinned}, {Offer: offers[1], Reason: policy.NotPinned}},
		},
	}
}

// What a decision costs a request that nobody traces: nothing on the heap.
func TestDecidedAllocatesNothing(t *testing.T) {
	tel := start(t, catalog.Telemetry{Series: 2000})
	o, ctx := decided(testCatalog(t, 1)), context.Background()
	tel.Decided(ctx, o)
	if n := testing.AllocsPerRun(1000, func() { tel.Decided(ctx, o) }); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkDecided(b *testing.B) {
	tel := start(b, catalog.Telemetry{Series: 2000})
	o, ctx := decided(testCatalog(b, 1)), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		tel.Decided(ctx, o)
	}
}

func BenchmarkDecidedUnsampled(b *testing.B) {
	tel := start(b, catalog.Telemetry{Series: 2000, OTLP: &catalog.OTLP{
		Endpoint: catalog.Endpoint{Scheme: "http", Host: "127.0.0.1", Port: 1}, Timeout: time.Second, Interval: time.Hour, Traces: true,
	}})
	o := decided(testCatalog(b, 1))
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"))
	b.ReportAllocs()
	for b.Loop() {
		tel.Decided(ctx, o)
	}
}

func BenchmarkSettled(b *testing.B) {
	tel := start(b, catalog.Telemetry{Series: 2000})
	tel.Adopt(testCatalog(b, 1))
	q, d := quote("m0", "p", "up0"), event("p", "up0")
	b.ReportAllocs()
	for b.Loop() {
		tel.Settled(q, ended, d)
	}
}
