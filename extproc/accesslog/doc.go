// Package accesslog receives Envoy's access log over gRPC and turns its entries
// into what the rest of shunt understands: a billing.Attempt for each attempt, and
// for each request that carries a quote, the quote and a billing.Record.
//
// server.go receives, entry.go and usage.go translate single entries, join.go
// brings a request's attempts to it.
//
// What gets lost on that way stands in the journal, a file that Envoy writes beside it:
// journal.go settles from it what is still open, line.go and split.go read its lines,
// files.go and part.go know its files.
package accesslog
