package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/state"
	"github.com/shunt-gateway/shunt/policy/sticky"
)

// startState opens what instances share: preferences, stickiness, and the key of the
// hashes by which both know callers.
func (a *app) startState(ctx context.Context, c *catalog.Catalog) error {
	s, err := state.Open(ctx, state.Options{
		State: c.State, DataDir: c.DataDir, StickyTTL: c.Routing.StickyTTL, Instance: a.source, Log: a.log,
	})
	if err != nil {
		return environmentError{fmt.Errorf("state: %w", err)}
	}
	a.up("state", s.Close)
	a.state = s
	key, err := a.sharedCallerKey(ctx, c.DataDir)
	if err != nil {
		return err
	}
	if a.hasher, err = billing.NewHasher(key); err != nil {
		return environmentError{err}
	}
	if a.keyer, err = sticky.NewKeyer(key); err != nil {
		return environmentError{err}
	}
	return nil
}

// sharedCallerKey is the key that all instances have. It is kept beside this one, for
// a start while NATS is away.
func (a *app) sharedCallerKey(ctx context.Context, dataDir string) ([]byte, error) {
	own, err := callerKey(dataDir)
	if err != nil {
		return nil, err
	}
	shared, err := a.state.CallerKey(ctx, own)
	if err != nil {
		a.log.Warn("callers are known by this instance's own key until the next start", "error", err)
		return own, nil
	}
	if string(shared) != string(own) {
		if err := os.WriteFile(filepath.Join(dataDir, callerKeyFile), shared, 0o600); err != nil {
			return nil, environmentError{fmt.Errorf("keep the shared caller key: %w", err)}
		}
	}
	return shared, nil
}
