// Package soak runs shunt under a steady load for as long as it is told, kills
// parts of it at random all the while, and then counts: one event per admitted
// request with every sink, the right amounts, and memory that did not grow.
//
//	make soak            30 minutes
//	SHUNT_SOAK=5m go test ./test/soak -v -timeout 1h
//
// Without SHUNT_SOAK it runs for a few seconds, with one kill of each kind.
package soak
