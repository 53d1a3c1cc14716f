package state

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/policy/prefs"
)

// CallerKey returns the key of the keyed hashes by which callers and conversations
// are known. With an embedded NATS it is own, the instance's. With an external one it
// is what all instances share: the first to ask stores its own, the others get that.
// The answer is to be kept: it is what own should be next time, when NATS may be
// away. The error wraps prefs.ErrUnavailable; then own is returned, which is right if
// it is what an earlier call returned.
func (s *State) CallerKey(ctx context.Context, own []byte) ([]byte, error) {
	if s.server != nil {
		return own, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.setup)
	defer cancel()
	shared, err := s.sharedKey(ctx, own)
	if err != nil {
		return own, fmt.Errorf("%w: share the caller key: %w", prefs.ErrUnavailable, cause(ctx, err))
	}
	return shared, nil
}

const callerKey = "caller"

func (s *State) sharedKey(ctx context.Context, own []byte) ([]byte, error) {
	if !s.conn.IsConnected() {
		return nil, errLost
	}
	if _, err := s.keys.ensure(ctx); err != nil {
		return nil, err
	}
	for {
		v, err := s.keys.get(ctx, callerKey)
		if err != nil {
			return nil, err
		}
		if v.data != nil {
			if len(v.data) != len(own) {
				return nil, fmt.Errorf("bucket %s has a key of %d bytes, not %d: remove it, and have all callers renamed", s.keys.name, len(v.data), len(own))
			}
			return v.data, nil
		}
		if _, err := s.keys.put(ctx, callerKey, own, v.revision); !errors.Is(err, errChanged) {
			if err != nil {
				return nil, err
			}
			return own, nil
		}
	}
}

func keysConfig(o Options) func() jetstream.StreamConfig {
	return func() jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Description:       "shunt: the key of the hashes that stand for callers, shared by all instances",
			MaxMsgsPerSubject: 1, MaxMsgSize: 4 << 10,
			Storage: jetstream.FileStorage, Replicas: o.State.Replicas,
			Discard: jetstream.DiscardNew, AllowRollup: true, DenyDelete: true,
		}
	}
}
