// Package outbox takes events from the admission log to the sinks, over a NATS
// JetStream stream in which every sink has a durable consumer: at least once, in
// order per sink, each sink at its own pace.
//
// The log stays the one that is believed: it has an event until every sink has it.
// So NATS may be away, be restarted or lose what it had, and an event waits in the
// log until it can be published (again). outbox.go starts and stops, publish.go
// fills the stream, worker.go empties it into one sink, floor.go tells the log what
// every sink has, dead.go keeps what a sink does not take. A sink that is the only one of the only instance gets its events
// from the log without NATS between: direct.go.
package outbox
