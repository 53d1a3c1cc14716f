package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/shunt-gateway/shunt/catalog"
)

// Options are what Start needs. Config, Resolve and Log must be set.
type Options struct {
	Config   catalog.Telemetry
	Version  string // of shunt
	Instance string // this shunt, as events name it
	// Resolve returns the secret itself. It is asked at every request to the
	// collector, so a file that changes is read again.
	Resolve func(catalog.Secret) (string, error)
	Log     *slog.Logger
}

// Telemetry runs until Close. Its methods may be called from any goroutine.
type Telemetry struct {
	registry *prometheus.Registry
	meters   *sdkmetric.MeterProvider
	spans    sdktrace.SpanProcessor // nil: nobody takes spans
	tracer   trace.Tracer           // likewise
	log      *slog.Logger
	failures atomic.Uint64
	closing  atomic.Bool
	patience time.Duration // with a collector that is away, at the end

	meter    metric.Meter
	settled  settledMeters
	decided  decidedMeters
	known    atomic.Pointer[known]
	cooldown metric.Int64Counter
}

// scope names the instruments' library to a collector.
const scope = "github.com/shunt-gateway/shunt"

// Start makes the instruments and, if a collector is configured, begins to send. A
// collector that cannot be reached is no error.
func Start(ctx context.Context, o Options) (*Telemetry, error) {
	t := &Telemetry{registry: prometheus.NewRegistry(), log: o.Log, patience: lastWords}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(t.failed))
	otel.SetLogger(logr.FromSlogHandler(o.Log.Handler()))
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	res, err := resource.New(ctx,
		resource.WithAttributes(
			attribute.String("service.name", "shunt"),
			attribute.String("service.version", o.Version),
			attribute.String("service.instance.id", o.Instance),
		),
		resource.WithTelemetrySDK(), resource.WithFromEnv(),
	)
	if err != nil {
		return nil, fmt.Errorf("telemetry: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	scraped, err := otelprom.New(otelprom.WithRegisterer(t.registry), otelprom.WithoutScopeInfo(),
		otelprom.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	options := []sdkmetric.Option{
		sdkmetric.WithResource(res), sdkmetric.WithReader(scraped),
		sdkmetric.WithCardinalityLimit(o.Config.Series), sdkmetric.WithExemplarFilter(exemplar.AlwaysOffFilter),
	}
	if c := o.Config.OTLP; c != nil {
		to, err := newCollector(c, o.Resolve)
		if err != nil {
			return nil, fmt.Errorf("telemetry.otlp: %w", err)
		}
		if c.Metrics {
			reader, err := to.metrics(ctx)
			if err != nil {
				return nil, fmt.Errorf("telemetry.otlp: %w", err)
			}
			options = append(options, sdkmetric.WithReader(reader))
		}
		if c.Traces {
			if t.spans, err = to.traces(ctx); err != nil {
				return nil, fmt.Errorf("telemetry.otlp: %w", err)
			}
			// Envoy has decided what is sampled.
			t.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(t.spans), sdktrace.WithResource(res),
				sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())),
			).Tracer(scope, trace.WithInstrumentationVersion(o.Version))
		}
	}
	t.meters = sdkmetric.NewMeterProvider(options...)
	t.meter = t.meters.Meter(scope, metric.WithInstrumentationVersion(o.Version))
	t.makeInstruments()
	return t, nil
}

// failed is told by OpenTelemetry what it could not do.
func (t *Telemetry) failed(err error) {
	if err == nil || t.closing.Load() { // what is cut off at the end goes out again, with the rest
		return
	}
	t.failures.Add(1)
	t.log.Warn("telemetry", "error", err)
}

// Handler serves the metrics to Prometheus. One that cannot be had takes no other
// along.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, ErrorLog: scrapeLog{t}})
}

// scrapeLog takes what went wrong in a scrape.
type scrapeLog struct{ *Telemetry }

// Println implements promhttp.Logger.
func (l scrapeLog) Println(v ...any) { l.failed(errors.New(strings.TrimSpace(fmt.Sprintln(v...)))) }

// lastWords bounds how long each, spans and metrics, may take to go out at the end.
const lastWords = 3 * time.Second

// Close sends what is left, as far as ctx allows.
func (t *Telemetry) Close(ctx context.Context) error {
	t.closing.Store(true)
	end := func(shutdown func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, t.patience)
		defer cancel()
		return shutdown(ctx)
	}
	err := end(t.meters.Shutdown)
	if t.spans != nil {
		err = errors.Join(err, end(t.spans.Shutdown))
	}
	if err != nil {
		t.log.Warn("telemetry: the last of it may not have been sent", "error", err)
	}
	return nil // a collector that is away must not make a clean end an unclean one
}
