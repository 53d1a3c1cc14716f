// Package envoy turns a catalog into Envoy configuration: listeners, routes,
// clusters and secrets, served over ADS or written out as a static bootstrap.
// Every default that Envoy needs and shunt.yaml does not name is set here.
package envoy
