package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Points are called by a reading with each value that there is at this moment.
type Points func(value float64, labels ...attribute.KeyValue)

// Counts adds a counter that others keep: read is called whenever somebody looks.
// name is OpenTelemetry's (shunt.billed), unit UCUM's or "".
func (t *Telemetry) Counts(name, unit, help string, read func(Points)) {
	_, err := t.meter.Float64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(help), metric.WithFloat64Callback(callback(read)))
	t.failed(err)
}

// Gauges is Counts for what goes up and down.
func (t *Telemetry) Gauges(name, unit, help string, read func(Points)) {
	_, err := t.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(help), metric.WithFloat64Callback(callback(read)))
	t.failed(err)
}

func callback(read func(Points)) metric.Float64Callback {
	return func(_ context.Context, o metric.Float64Observer) error {
		read(func(value float64, labels ...attribute.KeyValue) {
			o.Observe(value, metric.WithAttributeSet(attribute.NewSet(labels...)))
		})
		return nil
	}
}

// Count is Counts for one number.
func (t *Telemetry) Count(name, help string, read func() uint64) {
	t.Counts(name, "", help, func(p Points) { p(float64(read())) })
}

// Gauge is Gauges for one number.
func (t *Telemetry) Gauge(name, unit, help string, read func() float64) {
	t.Gauges(name, unit, help, func(p Points) { p(read()) })
}
