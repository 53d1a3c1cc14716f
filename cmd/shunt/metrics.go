package main

import (
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/shunt-gateway/shunt/extproc/telemetry"
)

// figures adds what parts of shunt keep count of by themselves to the metrics. They
// are read when somebody looks. docs/operations.md describes each.
func (a *app) figures() {
	a.decisionFigures()
	a.stateFigures()
	a.billingFigures()
	a.sinkFigures()
	a.offerFigures()
	a.flightFigures()
	a.configFigures()
	a.envoyFigures()
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (a *app) decisionFigures() {
	t := a.telemetry
	t.Count("shunt.overloaded", "requests refused because too many were being decided", a.extproc.Shed)
	t.Count("shunt.ext_proc.errors", "streams of Envoy's that were closed because a message made no sense", a.extproc.Broken)
	t.Gauge("shunt.ext_proc.in_flight", "", "questions of Envoy's that are being answered", func() float64 { return float64(a.extproc.InFlight()) })
}

// stateFigures tell of preferences, stickiness, and whether NATS is there.
func (a *app) stateFigures() {
	t, s := a.telemetry, a.state
	t.Gauge("shunt.state.connected", "", "1 while NATS answers", func() float64 { return truth(s.Health().Connected) })
	t.Gauge("shunt.preferences.current", "", "1 while all changes of preferences are known", func() float64 { return truth(s.Health().Preferences.Current) })
	t.Gauge("shunt.sticky.current", "", "1 while all records of stickiness are known", func() float64 { return truth(s.Health().Sticky.Current) })
	t.Gauge("shunt.sticky.queue", "", "records of stickiness that are not written yet", func() float64 { return float64(s.Health().StickyQueue) })
	t.Count("shunt.preferences.unavailable", "calls that failed for want of NATS", func() uint64 { return s.Counters().PreferencesUnavailable })
	t.Count("shunt.preferences.updated", "changes of preferences", func() uint64 { return s.Counters().PreferencesUpdated })
	t.Count("shunt.sticky.hits", "conversations whose provider was known", func() uint64 { return s.Counters().StickyHits })
	t.Count("shunt.sticky.misses", "conversations whose provider was not known", func() uint64 { return s.Counters().StickyMisses })
	t.Count("shunt.sticky.dropped", "records that the queue had no room for", func() uint64 { return s.Counters().StickyDropped })
}

// billingFigures tell how far events are.
func (a *app) billingFigures() {
	t, b, o := a.telemetry, a.accounts.book, a.accounts.outbox
	t.Count("shunt.admitted", "requests admitted", func() uint64 { return b.Stats().Admitted })
	t.Count("shunt.billed", "requests that have their event", func() uint64 { return b.Stats().Finished })
	t.Gauge("shunt.billing.open", "", "admitted requests without an event", func() float64 { return float64(b.Stats().Open) })
	t.Gauge("shunt.billing.backlog", "", "events that some sink has not got", func() float64 { s := b.Stats(); return float64(s.Ready + s.Published) })
	t.Gauge("shunt.billing.log", "By", "size of the log of admissions", func() float64 { return float64(b.Stats().Bytes) })
	t.Count("shunt.billing.refused", "requests refused because their admission could not be written down", func() uint64 { return b.Stats().Refused })
	t.Count("shunt.billing.dropped", "events lost to billing.outbox.on_full: drop_oldest", func() uint64 { return b.Stats().Dropped })
	t.Count("shunt.billing.late", "reports of requests that had their event", func() uint64 { return b.Stats().Late })
	t.Count("shunt.billing.disk.errors", "writes to the log of admissions that failed", func() uint64 { return b.Stats().DiskErrors })
	t.Count("shunt.billing.voided", "admissions taken back because Envoy had given the request up", func() uint64 { return b.Stats().Voided })
	if j := a.accounts.journal; j != nil {
		t.Count("shunt.journal.settled", "requests settled from the journal, because Envoy could not tell", func() uint64 { return j.Stats().Settled })
		t.Count("shunt.journal.bad.lines", "lines of the journal that were passed over: torn, foreign or too long", func() uint64 { return j.Stats().Bad })
	}
	t.Gauge("shunt.outbox.connected", "", "1 while the outbox has its place in NATS", func() float64 { return truth(o.Stats().Connected) })
	t.Count("shunt.outbox.published", "events that NATS took", func() uint64 { return o.Stats().Published })
	t.Count("shunt.outbox.failures", "rounds of publishing that did not work", func() uint64 { return o.Stats().Failures })
}

// sinkFigures tell of each sink.
func (a *app) sinkFigures() {
	t := a.telemetry
	labels := a.sinkLabels()
	each := func(value func(sink) float64) func(telemetry.Points) {
		return func(p telemetry.Points) {
			for _, s := range a.accounts.outbox.Stats().Sinks {
				p(value(s), labels[s.Name]...)
			}
		}
	}
	t.Counts("shunt.sink.delivered", "", "events that the sink took", each(func(s sink) float64 { return float64(s.Delivered) }))
	t.Counts("shunt.sink.failures", "", "tries that the sink did not take", each(func(s sink) float64 { return float64(s.Failures) }))
	t.Counts("shunt.sink.dead_letters", "", "events that were given up for the sink", each(func(s sink) float64 { return float64(s.Dead) }))
	t.Gauges("shunt.sink.dead_letters.waiting", "", "dead letters that wait, also from before", each(func(s sink) float64 { return float64(s.Buried) }))
	t.Gauges("shunt.sink.backlog", "", "events that the sink has not got", each(func(s sink) float64 { return float64(s.Backlog) }))
	t.Gauges("shunt.sink.failing", "", "1 while the sink takes nothing", each(func(s sink) float64 { return truth(s.Failing) }))
	t.Gauges("shunt.sink.oldest.age", "s", "age of the oldest event that the sink has not got", each(func(s sink) float64 { return s.Age.Seconds() }))
}

// offerFigures tell how many offers of each provider may be used, are cooling down,
// or have yet to prove themselves.
func (a *app) offerFigures() {
	a.telemetry.Gauges("shunt.offers", "", "offers by provider and phase", func(p telemetry.Points) {
		snap, now := a.live.Load().Snapshot, time.Now()
		type phases struct{ usable, cooling, probing int }
		n := make(map[string]*phases, len(snap.Catalog.Providers))
		for _, provider := range snap.Catalog.Providers {
			n[provider.Slug] = &phases{}
		}
		for _, o := range snap.Catalog.Offers() {
			if !o.Enabled {
				continue
			}
			switch h, at := snap.Health.At(o.Index), n[o.Provider.Slug]; {
			case h.CoolingTill.After(now):
				at.cooling++
			case h.ProbingTill.After(now):
				at.probing++
			default:
				at.usable++
			}
		}
		for slug, at := range n {
			for phase, count := range map[string]int{"usable": at.usable, "cooling": at.cooling, "probing": at.probing} {
				p(float64(count), attribute.String("provider", slug), attribute.String("phase", phase))
			}
		}
	})
}

// configFigures tell which configuration is in use.
func (a *app) configFigures() {
	t, r := a.telemetry, &a.reloads
	t.Gauges("shunt.config.info", "", "1, with the version of the configuration in use", func(p telemetry.Points) {
		p(1, attribute.String("catalog", a.current().Hash))
	})
	t.Gauge("shunt.config.loaded.timestamp", "s", "when it came into use", func() float64 { return float64(r.at.Load()) })
	t.Counts("shunt.config.reloads", "", "reloads by what came of them", func(p telemetry.Points) {
		p(float64(r.taken.Load()), attribute.String("result", "taken"))
		p(float64(r.refused.Load()), attribute.String("result", "refused"))
		p(float64(r.failed.Load()), attribute.String("result", "failed"))
	})
}

// envoyFigures tell of Envoy. Under serve there is none to restart.
func (a *app) envoyFigures() {
	t := a.telemetry
	t.Gauge("shunt.envoy.current", "", "1 while Envoy has the configuration in use", func() float64 {
		ok, _ := a.ads.Current()
		return truth(ok)
	})
	t.Count("shunt.envoy.nacks", "configurations that Envoy refused", a.refusals.Load)
	t.Count("shunt.envoy.restarts", "times that Envoy ended and was started again", func() uint64 {
		if r := a.runner.Load(); r != nil {
			return uint64(r.Status().Restarts)
		}
		return 0
	})
}
