// Package streams keeps the streams that instances share on JetStream as they are
// wanted.
package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Merge changes of a stream what shunt depends on, and leaves what else an operator set
// (placement, compression, more replicas). differs: something was to be changed.
type Merge func(have, want jetstream.StreamConfig) (merged jetstream.StreamConfig, differs bool)

// Ensure returns the stream, which it makes if it is not there and updates only where it
// is not what is wanted: an update that changes nothing would disturb the instances that
// are at work with the stream (in nats-server 2.15, a data race with those that add a
// consumer).
func Ensure(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, merge Merge) (jetstream.Stream, error) {
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another instance was faster
			s, err = js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the stream %s: %w", want.Name, err)
	}
	merged, differs := merge(s.CachedInfo().Config, want)
	if !differs {
		return s, nil
	}
	if s, err = js.UpdateStream(ctx, merged); err != nil {
		return nil, fmt.Errorf("bring the stream %s up to date: %w", want.Name, err)
	}
	return s, nil
}
