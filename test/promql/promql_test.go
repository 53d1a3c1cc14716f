package promql

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

const (
	docs      = "../../docs/operations.md"
	alerts    = "../../deploy/prometheus/alerts.yaml"
	dashboard = "../../deploy/grafana/shunt.json"
)

// metric is one of the table.
type metric struct {
	kind   string
	labels []string
}

// table is the one of docs/operations.md, by name.
func table(t *testing.T) map[string]metric {
	t.Helper()
	_, section, _ := strings.Cut(read(t, docs), "\n## Metrics\n")
	section, _, _ = strings.Cut(section, "\n## ")
	out := map[string]metric{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) == 7 && strings.HasPrefix(cells[1], " `") {
			isSeparator := func(r rune) bool { return strings.ContainsRune(" `,", r) }
			out[strings.Trim(cells[1], " `")] = metric{strings.TrimSpace(cells[2]), strings.FieldsFunc(cells[4], isSeparator)}
		}
	}
	if len(out) < 40 {
		t.Fatalf("only %d metrics in %s", len(out), docs)
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Prometheus's own labels, and what OpenTelemetry puts on the series that stands for
// too many.
var always = []string{"job", "instance", "otel_metric_overflow"}

// check parses an expression and returns the labels that its result can have. All
// metrics and labels in it must be in the table.
func check(text string, known map[string]metric) (out []string, err error) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(text, "$__rate_interval", "5m"))
	if err != nil {
		return nil, err
	}
	return results(expr, known)
}

// results are the labels of a part's result.
func results(n parser.Expr, known map[string]metric) ([]string, error) {
	switch n := n.(type) {
	case *parser.VectorSelector:
		return selected(n, known)
	case *parser.AggregateExpr:
		under, err := results(n.Expr, known)
		if err != nil {
			return nil, err
		}
		for _, l := range n.Grouping {
			if !slices.Contains(under, l) {
				return nil, fmt.Errorf("%s groups by %s; there are %v", n, l, under)
			}
		}
		if n.Without {
			return slices.DeleteFunc(under, func(l string) bool { return slices.Contains(n.Grouping, l) }), nil
		}
		return n.Grouping, nil
	}
	all := map[string]bool{}
	for child := range parser.ChildrenIter(n) {
		e, ok := child.(parser.Expr)
		if !ok {
			continue
		}
		under, err := results(e, known)
		if err != nil {
			return nil, err
		}
		for _, l := range under {
			all[l] = true
		}
	}
	if c, ok := n.(*parser.Call); ok && c.Func.Name == "histogram_quantile" {
		if !all["le"] {
			return nil, fmt.Errorf("%s: le is not kept", n)
		}
		delete(all, "le")
	}
	return slices.Sorted(maps.Keys(all)), nil
}

// selected are the labels that the series of a selector may have.
func selected(v *parser.VectorSelector, known map[string]metric) ([]string, error) {
	var out []string
	for _, m := range v.LabelMatchers {
		if m.Name != labels.MetricName {
			continue
		}
		for name, one := range series(known) {
			if m.Matches(name) {
				out = append(out, one...)
			}
		}
		if out == nil {
			return nil, fmt.Errorf("%s: no such metric in %s", m, docs)
		}
	}
	for _, m := range v.LabelMatchers {
		if m.Name != labels.MetricName && !slices.Contains(out, m.Name) {
			return nil, fmt.Errorf("%s: %s has no label %s", v, v.Name, m.Name)
		}
	}
	return out, nil
}

// series are the names under which Prometheus keeps the metrics: a histogram has
// three.
func series(known map[string]metric) map[string][]string {
	out := map[string][]string{}
	for name, m := range known {
		own := slices.Concat(m.labels, always)
		if m.kind != "histogram" {
			out[name] = own
			continue
		}
		out[name+"_count"], out[name+"_sum"] = own, own
		out[name+"_bucket"] = slices.Concat(own, []string{"le"})
	}
	return out
}

var reference = regexp.MustCompile(`\$labels\.(\w+)`)

func TestAlerts(t *testing.T) {
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	d := yaml.NewDecoder(strings.NewReader(read(t, alerts)))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	known, seen := table(t), map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			has, err := check(r.Expr, known)
			if err != nil {
				t.Errorf("%s: %v", r.Alert, err)
				continue
			}
			if r.For != "" {
				if _, err := model.ParseDuration(r.For); err != nil {
					t.Errorf("%s: for: %v", r.Alert, err)
				}
			}
			if seen[r.Alert] || r.Alert == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("%s: comes twice, or has no name, severity or summary", r.Alert)
			}
			seen[r.Alert] = true
			for _, text := range r.Annotations {
				for _, m := range reference.FindAllStringSubmatch(text, -1) {
					if !slices.Contains(has, m[1]) {
						t.Errorf("%s speaks of $labels.%s; it has %v", r.Alert, m[1], has)
					}
				}
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d alerts", len(seen))
	}
}

var (
	legend      = regexp.MustCompile(`{{(\w+)}}`)
	labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
)

func TestDashboard(t *testing.T) {
	var file struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr, LegendFormat string }
		}
		Annotations struct {
			List []struct{ Name, Expr string }
		}
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, dashboard)), &file); err != nil {
		t.Fatal(err)
	}
	known, ids := table(t), map[int]bool{}
	for _, p := range file.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %d, %q: its id comes twice, or it is empty", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			has, err := check(target.Expr, known)
			if err != nil {
				t.Errorf("%s: %v", p.Title, err)
				continue
			}
			for _, m := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(has, m[1]) {
					t.Errorf("%s: the legend speaks of %s; %s has %v", p.Title, m[1], target.Expr, has)
				}
			}
		}
	}
	for _, a := range file.Annotations.List {
		if _, err := check(a.Expr, known); err != nil {
			t.Errorf("annotation %s: %v", a.Name, err)
		}
	}
	for _, v := range file.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := labelValues.FindStringSubmatch(v.Definition)
		if m == nil {
			t.Errorf("variable %s: %q is not label_values(metric, label)", v.Name, v.Definition)
			continue
		}
		if has, err := check(m[1], known); err != nil || !slices.Contains(has, m[2]) {
			t.Errorf("variable %s: label %s of %v, %v", v.Name, m[2], has, err)
		}
	}
}

// The check itself finds what is wrong.
func TestCheck(t *testing.T) {
	known := table(t)
	for text, fine := range map[string]bool{
		`sum by (status) (rate(shunt_requests_total[5m]))`:                                           true,
		`sum by (provider) (rate(shunt_requests_total[5m]))`:                                         false,
		`rate(shunt_requests[5m])`:                                                                   false,
		`shunt_offers{phase="cooling"}`:                                                              true,
		`shunt_offers{fase="cooling"}`:                                                               false,
		`histogram_quantile(0.5, sum by (le) (rate(shunt_ext_proc_duration_seconds_bucket[5m])))`:    true,
		`histogram_quantile(0.5, sum by (phase) (rate(shunt_ext_proc_duration_seconds_bucket[5m])))`: false,
		`shunt_ext_proc_duration_seconds`:                                                            false,
		`shunt_offers{`:                                                                              false,
		`sum(shunt_sink_backlog) / sum by (kind) (shunt_sink_failing) > on (kind) shunt_sink_failing offset`: false,
	} {
		if has, err := check(text, known); (err == nil) != fine {
			t.Errorf("%s: %v, %v", text, has, err)
		}
	}
}
