package telemetry

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/shunt-gateway/shunt/test/harness"
)

// metrics are what /metrics says, by name.
type metrics struct {
	text     string
	families map[string]*dto.MetricFamily
}

func (s *site) scrape() (*metrics, error) {
	req, err := http.NewRequest(http.MethodGet, s.Admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%d %s", resp.StatusCode, text)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	return &metrics{string(text), families}, err
}

// eventually scrapes until f has no error, and returns what it saw then.
func (s *site) eventually(t *testing.T, what string, f func(*metrics) error) (m *metrics) {
	t.Helper()
	harness.Eventually(t, what, func() (err error) {
		if m, err = s.scrape(); err != nil {
			return err
		}
		return f(m)
	})
	return m
}

// value adds up the series of a metric that have these labels: name, value, name,
// value. Of a histogram it is the count.
func (m *metrics) value(name string, labels ...string) float64 {
	sum := 0.0
	for _, series := range m.families[name].GetMetric() {
		if !has(series, labels) {
			continue
		}
		sum += series.GetCounter().GetValue() + series.GetGauge().GetValue() + float64(series.GetHistogram().GetSampleCount())
	}
	return sum
}

func has(m *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		if label(m, labels[i]) != labels[i+1] {
			return false
		}
	}
	return true
}

// label is a label's value, "" where there is none.
func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// want is an error while the metric has less than that.
func (m *metrics) want(atLeast float64, name string, labels ...string) error {
	if got := m.value(name, labels...); got < atLeast {
		return fmt.Errorf("%s%v is %v, want %v or more", name, labels, got, atLeast)
	}
	return nil
}

// series is how many there are.
func (m *metrics) series() int {
	n := 0
	for _, f := range m.families {
		n += len(f.GetMetric())
	}
	return n
}

// labels are the names that a metric's series have, all of them together.
func labels(f *dto.MetricFamily) []string {
	names := map[string]bool{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			names[l.GetName()] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
