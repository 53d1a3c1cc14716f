package telemetry

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

// traffic is a bit of everything, so that every metric has every label.
func (s *site) traffic(t *testing.T) {
	t.Helper()
	s.alpha.Set(demo.Behaviour{Usage: demo.Usage{Counts: &demo.Counts{Prompt: 100, Completion: 50, Cached: 40, CacheWrite: 5, Reasoning: 10}}})
	for _, body := range []string{
		chat("m", ""), chat("m", `,"stream":true`), chat("m:cheap", ""), chat("m", `,"caching":true`),
		chat("m", `,"provider":{"ignore":["beta"]}`), chat("m", `,"provider":{"only":["alpha"]}`),
	} {
		if a := s.send(t, chatPath, body); a.status != http.StatusOK {
			t.Fatalf("%s: %d", body, a.status)
		}
	}
	s.send(t, "/v1/completions", `{"model":"m","prompt":"x"}`)
	for _, body := range []string{"{", chat("unknown-model", ""), chat("m", `,"provider":"nobody"`)} {
		if a := s.send(t, chatPath, body); a.status < 400 {
			t.Fatalf("%s: %d", body, a.status)
		}
	}
	s.alpha.Set(demo.Behaviour{Fail: &demo.Failure{Status: 429, Headers: map[string]string{"retry-after": "60"}}})
	if a := s.send(t, chatPath, chat("m", "")); a.provider() != "beta" {
		t.Fatalf("no failover: %d %v", a.status, a.header)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", "--log-format", "json", "--log-level", "debug")
	s.traffic(t)
	m := s.eventually(t, "every metric does what its name says", figures)
	t.Run("secrets", func(t *testing.T) { noSecrets(t, m) })
	t.Run("documented", func(t *testing.T) { isDocumented(t, m) })
	t.Run("logs", func(t *testing.T) { logs(t, s) })
	t.Run("hostile names", func(t *testing.T) { hostileNames(t, s, m) })
	t.Run("changes", func(t *testing.T) { changes(t, s) })
}

// figures are what the traffic comes to.
func figures(m *metrics) error {
	var errs []error
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{8, "gen_ai_client_token_usage", []string{"gen_ai_token_type", "input"}},
		{8, "gen_ai_client_token_usage", []string{"gen_ai_token_type", "output"}},
		{7, "gen_ai_client_token_usage", []string{"gen_ai_token_type", "output", "gen_ai_provider_name", "alpha", "gen_ai_request_model", "m", "gen_ai_response_model", "up-a"}},
		{1, "gen_ai_client_token_usage", []string{"gen_ai_token_type", "output", "gen_ai_operation_name", "text_completion"}},
		{9, "gen_ai_client_operation_duration_seconds", nil},
		{1, "gen_ai_client_operation_duration_seconds", []string{"error_type", "429", "gen_ai_provider_name", "alpha"}},
		{1, "gen_ai_client_operation_duration_seconds", []string{"gen_ai_provider_name", "beta", "error_type", ""}},
		{1, "gen_ai_client_operation_time_to_first_chunk_seconds", []string{"gen_ai_provider_name", "alpha"}},
		{4, "shunt_decisions_total", []string{"kind", "default"}},
		{1, "shunt_decisions_total", []string{"kind", "suffix"}},
		{1, "shunt_decisions_total", []string{"kind", "caching"}},
		{2, "shunt_decisions_total", []string{"kind", "explicit"}},
		{1, "shunt_refusals_total", []string{"code", "invalid_json"}},
		{1, "shunt_refusals_total", []string{"code", "model_not_found"}},
		{1, "shunt_refusals_total", []string{"code", "provider_unknown_provider"}},
		{1, "shunt_exclusions_total", []string{"reason", "in ignore"}},
		{1, "shunt_exclusions_total", []string{"reason", "not in only"}},
		{1, "shunt_exclusions_total", []string{"reason", "does not support caching"}},
		{7, "shunt_attempts_total", []string{"provider", "alpha", "outcome", "ok"}},
		{1, "shunt_attempts_total", []string{"provider", "alpha", "outcome", "rate_limited"}},
		{1, "shunt_attempts_total", []string{"provider", "beta", "outcome", "ok"}},
		{9, "shunt_attempts_total", nil},
		{7, "shunt_requests_total", []string{"status", "completed", "attempts", "1"}},
		{1, "shunt_requests_total", []string{"status", "completed", "attempts", "more"}},
		{1, "shunt_cooldowns_total", []string{"provider", "alpha"}},
		{1, "shunt_offers", []string{"provider", "beta", "phase", "usable"}},
		{280, "shunt_tokens_total", []string{"provider", "alpha", "type", "cache_read", "source", "reported"}},
		{1, "shunt_ext_proc_duration_seconds", []string{"phase", "retry"}},
		{11, "shunt_ext_proc_duration_seconds", []string{"phase", "decide"}},
		{1, "shunt_config_info", nil}, {1, "shunt_state_connected", nil}, {1, "shunt_envoy_current", nil}, {1, "shunt_outbox_connected", nil},
		{0, "shunt_telemetry_errors_total", nil}, {0, "shunt_billing_backlog", nil}, {0, "shunt_envoy_restarts_total", nil}, {8, "shunt_admitted_total", nil},
		{8, "shunt_sink_delivered_total", []string{"kind", "file", "sink", "events.jsonl"}},
	} {
		if got := m.value(c.name, c.labels...); got != c.want {
			errs = append(errs, fmt.Errorf("%s%v is %v, want %v", c.name, c.labels, got, c.want))
		}
	}
	return errors.Join(errs...)
}

func noSecrets(t *testing.T, m *metrics) {
	for _, secret := range []string{"hunter2", prompt, "unknown-model", "nobody"} {
		if strings.Contains(m.text, secret) {
			t.Errorf("/metrics shows %q", secret)
		}
	}
}

const docs = "../../docs/operations.md"

// row is a metric as the documentation has it.
type row struct {
	kind   string
	labels []string
}

// documented reads the tables of the section on metrics.
func documented(t *testing.T) map[string]row {
	t.Helper()
	data, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n## Metrics\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := map[string]row{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		name := strings.Trim(cells[1], " `")
		if _, twice := rows[name]; twice {
			t.Errorf("%s stands in %s twice", name, docs)
		}
		r := row{kind: strings.TrimSpace(cells[2])}
		for l := range strings.FieldsFuncSeq(cells[4], func(r rune) bool { return strings.ContainsRune(" `,", r) }) {
			r.labels = append(r.labels, l)
		}
		slices.Sort(r.labels)
		rows[name] = r
	}
	if len(rows) == 0 {
		t.Fatalf("no table of metrics in %s", docs)
	}
	return rows
}

// isDocumented: every metric is documented with its type and labels, and no other is.
// What deploy uses is held against the same table, in test/promql.
func isDocumented(t *testing.T, m *metrics) {
	rows := documented(t)
	for name, f := range m.families {
		r, ok := rows[name]
		if !ok && (strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_")) {
			continue // the Go runtime's, and the process's
		}
		delete(rows, name)
		switch kind := strings.ToLower(f.GetType().String()); {
		case !ok:
			t.Errorf("%s is not in %s: %s, labels %v", name, docs, kind, labels(f))
		case r.kind != kind || !slices.Equal(r.labels, labels(f)):
			t.Errorf("%s is a %s with labels %v; %s says %s with %v", name, kind, labels(f), docs, r.kind, r.labels)
		}
	}
	for name := range rows {
		t.Errorf("%s is in %s, and shunt has no such metric", name, docs)
	}
}

// hostileNames: names that clients make up are nobody's labels. However many there
// are, no series comes of them.
func hostileNames(t *testing.T, s *site, before *metrics) {
	const n = 200 // extproc/telemetry tries 10,000 of each
	for i := range n {
		s.send(t, chatPath, chat(fmt.Sprintf("m-%d-hunter2", i), ""))
		s.send(t, chatPath, chat("m", fmt.Sprintf(`,"provider":"p-%d-hunter2"`, i)))
	}
	after := s.eventually(t, "the refusals are counted", func(m *metrics) error { return m.want(2*n, "shunt_refusals_total") })
	if strings.Contains(after.text, "hunter2") || after.series() > before.series() {
		t.Errorf("%d series have become %d:\n%s", before.series(), after.series(), after.text)
	}
}
