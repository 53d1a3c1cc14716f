package outbox

import (
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// merge is a streams.Merge. The persist mode stays too: NATS does not change it.
func merge(have, want jetstream.StreamConfig) (merged jetstream.StreamConfig, differs bool) {
	merged = have
	merged.Subjects = want.Subjects
	merged.Duplicates = max(have.Duplicates, want.Duplicates)
	merged.Replicas = max(have.Replicas, want.Replicas)
	differs = !slices.Equal(merged.Subjects, have.Subjects) || merged.Duplicates != have.Duplicates ||
		merged.Replicas != have.Replicas
	return merged, differs
}
