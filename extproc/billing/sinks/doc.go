// Package sinks takes billing events to where the configuration says: a file, a
// NATS subject, a Kafka topic, an HTTP receiver of CloudEvents. There is one file
// for each.
//
// What they have in common: an event is delivered when its receiver has
// acknowledged it, at least once. While the receiver is away, Deliver waits and
// tries again until its context is done, so that an outage costs no event; an error
// without the context being done is about the event, or the configuration, and
// wraps billing.ErrRefused where another try is pointless. No error and no log line
// shows a secret or a URL's query.
package sinks
