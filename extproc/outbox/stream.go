package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// ensureStream returns the stream, which it makes if it is not there and updates only
// where it is not what is wanted: an update that changes nothing would disturb the
// instances that are at work with the stream (in nats-server 2.15, a data race with
// those that add a consumer).
func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another instance was faster
			s, err = js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make the stream %s: %w", want.Name, err)
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

// merge changes of a stream what shunt depends on; what else an operator set
// (placement, compression, more replicas) stays. So does the persist mode, which NATS
// does not change.
func merge(have, want jetstream.StreamConfig) (merged jetstream.StreamConfig, differs bool) {
	merged = have
	merged.Subjects = want.Subjects
	merged.Duplicates = max(have.Duplicates, want.Duplicates)
	merged.Replicas = max(have.Replicas, want.Replicas)
	differs = !slices.Equal(merged.Subjects, have.Subjects) || merged.Duplicates != have.Duplicates ||
		merged.Replicas != have.Replicas
	return merged, differs
}
