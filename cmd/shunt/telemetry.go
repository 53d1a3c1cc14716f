package main

import (
	"context"
	"log/slog"
	"net/url"
	"path/filepath"
	"reflect"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc"
	"github.com/shunt-gateway/shunt/extproc/outbox"
	"github.com/shunt-gateway/shunt/extproc/telemetry"
)

type sink = outbox.SinkStats

// reloads count what became of changes of the configuration.
type reloads struct {
	taken, refused, failed atomic.Uint64
	at                     atomic.Int64 // Unix seconds
}

// startTelemetry comes before whatever counts.
func (a *app) startTelemetry(ctx context.Context, c *catalog.Catalog) (err error) {
	a.telemetry, err = telemetry.Start(ctx, telemetry.Options{
		Config: c.Telemetry, Version: version, Instance: a.source, Resolve: resolve, Log: a.log,
	})
	if err != nil {
		return environmentError{err}
	}
	a.vitals.cooled = a.telemetry.Cooled
	a.up("telemetry", a.telemetry.Close)
	return nil
}

// keepTelemetry has a new catalog keep the telemetry that this process was started
// with.
func (a *app) keepTelemetry(c *catalog.Catalog) {
	old := a.current()
	if !reflect.DeepEqual(old.Telemetry, c.Telemetry) {
		a.log.Warn("telemetry changes with a restart only")
		c.Telemetry = old.Telemetry
	}
}

// observed is told of every answer to Envoy.
func (a *app) observed(ctx context.Context, o *extproc.Outcome) {
	a.telemetry.Decided(ctx, o)
	if o.Refusal == nil {
		return
	}
	level := slog.LevelDebug // a client's mistake; it has been told
	if o.Refusal.Status >= 500 {
		level = slog.LevelWarn
	}
	if !a.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request_id", o.RequestID), slog.Int("status", o.Refusal.Status), slog.String("code", o.Refusal.Code),
		slog.String("reason", o.Refusal.Message),
	}
	if id := telemetry.TraceID(ctx); id != "" {
		attrs = append(attrs, slog.String("trace_id", id))
	}
	if o.Cause != nil {
		attrs = append(attrs, slog.Any("error", o.Cause))
	}
	if level >= slog.LevelWarn {
		unsaid, ok := a.troubles.next(o.Ended)
		if !ok {
			return
		}
		attrs = append(attrs, slog.Int64("unsaid", unsaid))
	}
	a.log.LogAttrs(ctx, level, "request refused", attrs...)
}

// seldom lets one line a second through: when shunt refuses everybody, a line for
// each would not help.
type seldom struct {
	last   atomic.Int64 // Unix ns
	unsaid atomic.Int64
}

// next says whether to speak now, and how often that was not done since the last time.
func (s *seldom) next(now time.Time) (unsaid int64, ok bool) {
	last := s.last.Load()
	if now.UnixNano()-last < int64(time.Second) || !s.last.CompareAndSwap(last, now.UnixNano()) {
		s.unsaid.Add(1)
		return 0, false
	}
	return s.unsaid.Swap(0), true
}

// sinkLabels are those of the sinks' metrics, by the sinks' names: short ones that an
// operator knows again, without a URL's path, in which there may be a key.
func (a *app) sinkLabels() map[string][]attribute.KeyValue {
	out, seen := make(map[string][]attribute.KeyValue), make(map[string]int)
	for i, s := range a.current().Billing.Sinks {
		kind, name := sinkLabel(&s)
		seen[kind+name]++
		if n := seen[kind+name]; n > 1 {
			name += " #" + strconv.Itoa(n)
		}
		out[a.accounts.sinks[i].Name] = []attribute.KeyValue{attribute.String("kind", kind), attribute.String("sink", name)}
	}
	return out
}

func sinkLabel(s *catalog.Sink) (kind, name string) {
	switch {
	case s.NATS != nil:
		return "nats", s.NATS.Subject
	case s.Kafka != nil:
		return "kafka", s.Kafka.Topic
	case s.HTTP != nil:
		if u, err := url.Parse(s.HTTP.URL); err == nil {
			return "http", u.Host
		}
		return "http", ""
	}
	return "file", filepath.Base(s.File)
}
