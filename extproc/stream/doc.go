// Package stream serves one bidirectional gRPC method to Envoy: calls of a few
// messages that end with one answer. It speaks HTTP/2 itself and in one goroutine
// per connection: what has arrived is read, answered and written in one go. grpc-go
// takes every message through three goroutines, which on the path of a request cost
// more than the decision; `make bench` compares with it.
//
// server.go accepts and stops, conn.go reads, send.go writes. The peer is an Envoy
// on a private socket; what it may not send ends its connection or its call, never
// the process (SEC-6).
package stream
