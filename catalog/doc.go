// Package catalog turns shunt.yaml into a validated, immutable value: providers,
// models, offers, prices and variants. It does no I/O: the caller hands it bytes.
package catalog
