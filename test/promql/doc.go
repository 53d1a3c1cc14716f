// Package promql holds the dashboard and the alert rules of deploy against the table
// of metrics in docs/operations.md, which test/telemetry holds against a running
// shunt. It is a module of its own: Prometheus's parser is no part of shunt.
package promql
