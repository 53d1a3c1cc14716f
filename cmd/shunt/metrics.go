package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metric reads one figure of the running program when somebody asks for /metrics.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	read       func() float64
}

// Describe implements prometheus.Collector.
func (m metric) Describe(ch chan<- *prometheus.Desc) { ch <- m.desc() }

// Collect implements prometheus.Collector.
func (m metric) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(m.desc(), m.kind, m.read())
}

func (m metric) desc() *prometheus.Desc { return prometheus.NewDesc("shunt_"+m.name, m.help, nil, nil) }

// newRegistry holds the process's own metrics and shunt's.
func (a *app) newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, m := range append(a.stateMetrics(), a.billingMetrics()...) {
		r.MustRegister(m)
	}
	return r
}

func count(name, help string, read func() uint64) metric {
	return metric{name, help, prometheus.CounterValue, func() float64 { return float64(read()) }}
}

func gauge(name, help string, read func() float64) metric {
	return metric{name, help, prometheus.GaugeValue, read}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// stateMetrics tell of preferences, stickiness, and whether NATS is there.
func (a *app) stateMetrics() []metric {
	s := a.state
	return []metric{
		gauge("state_connected", "1 while NATS answers", func() float64 { return truth(s.Health().Connected) }),
		gauge("preferences_current", "1 while all changes of preferences are known", func() float64 { return truth(s.Health().Preferences.Current) }),
		gauge("sticky_current", "1 while all records of stickiness are known", func() float64 { return truth(s.Health().Sticky.Current) }),
		count("preferences_unavailable_total", "calls that failed for want of NATS", func() uint64 { return s.Counters().PreferencesUnavailable }),
		count("preferences_updated_total", "changes of preferences", func() uint64 { return s.Counters().PreferencesUpdated }),
		count("sticky_hits_total", "conversations whose provider was known", func() uint64 { return s.Counters().StickyHits }),
		count("sticky_misses_total", "conversations whose provider was not known", func() uint64 { return s.Counters().StickyMisses }),
		count("sticky_dropped_total", "records that the queue had no room for", func() uint64 { return s.Counters().StickyDropped }),
	}
}

// billingMetrics tell how far events are.
func (a *app) billingMetrics() []metric {
	b := a.accounts.book
	return []metric{
		count("admitted_total", "requests admitted", func() uint64 { return b.Stats().Admitted }),
		count("billed_total", "requests that have their event", func() uint64 { return b.Stats().Finished }),
		gauge("billing_open", "admitted requests without an event", func() float64 { return float64(b.Stats().Open) }),
		gauge("billing_backlog", "events that some sink has not got", func() float64 { s := b.Stats(); return float64(s.Ready + s.Published) }),
		gauge("billing_log_bytes", "size of the log of admissions", func() float64 { return float64(b.Stats().Bytes) }),
		count("overloaded_total", "requests refused because too many were being decided", a.extproc.Shed),
	}
}
