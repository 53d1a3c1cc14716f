package billing

import "context"

// Batcher is a Sink that takes several events at once: one request, one write or
// one flush for all of them. Whoever has many at hand calls DeliverAll.
type Batcher interface {
	Sink
	// DeliverAll hands ms over, in this order, and blocks as Deliver does. Nil: all
	// were taken. Otherwise it has one error for each message, nil for those that
	// were taken; they mean what Deliver's errors mean.
	DeliverAll(ctx context.Context, ms []Message) []error
}
