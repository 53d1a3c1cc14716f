// Package telemetry tells what shunt does: metrics by OpenTelemetry, read on
// /metrics and, if there is a collector, sent to it, and one span for each decision.
// What is recorded about a request comes from its settlement, off its path, but for a
// few counters with labels made beforehand.
//
// Labels are bounded. Models and providers are the catalog's; what it does not have
// is "other". No label holds anything of a caller. The names of metrics and labels
// are a contract, which docs/operations.md lists.
package telemetry
