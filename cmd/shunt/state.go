package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/state"
	"github.com/shunt-gateway/shunt/policy/prefs"
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
	own, err := callerKey(c.DataDir)
	if err != nil {
		return err
	}
	if a.hasher, err = billing.NewHasher(own); err != nil {
		return environmentError{err}
	}
	if a.keyer, err = sticky.NewKeyer(own); err != nil {
		return environmentError{err}
	}
	err = a.shareCallerKey(ctx, own, c.DataDir)
	if !errors.Is(err, prefs.ErrUnavailable) {
		return err
	}
	a.log.Warn("callers are known by the key of this instance's last start, and saved preferences wait, until NATS has the shared one", "error", err)
	a.shareLater(own, c.DataDir)
	return nil
}

// shareCallerKey goes by the key that all instances have. It is kept beside this one,
// for a start while NATS is away. An error that wraps prefs.ErrUnavailable ends by
// itself.
func (a *app) shareCallerKey(ctx context.Context, own []byte, dataDir string) error {
	shared, err := a.state.CallerKey(ctx, own)
	if err != nil {
		return err
	}
	if !bytes.Equal(shared, own) {
		if err := os.WriteFile(filepath.Join(dataDir, callerKeyFile), shared, 0o600); err != nil {
			return environmentError{fmt.Errorf("keep the shared caller key: %w", err)}
		}
		if err := errors.Join(a.hasher.Rekey(shared), a.keyer.Rekey(shared)); err != nil {
			return environmentError{err}
		}
	}
	a.callerKeyShared.Store(true)
	return nil
}

// keyEvery is how often NATS is asked for the shared key.
const keyEvery = time.Second

// shareLater asks until there is an answer.
func (a *app) shareLater(own []byte, dataDir string) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(keyEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := a.shareCallerKey(ctx, own, dataDir)
			if err == nil {
				a.log.Info("callers are known by the shared key")
				return
			}
			if !errors.Is(err, prefs.ErrUnavailable) {
				a.failed("caller key", err)
				return
			}
		}
	})
	a.up("caller key", func(context.Context) error {
		cancel()
		wg.Wait()
		return nil
	})
}

// savedPreferences are unavailable while callers are known by a key that may not be
// the others': what was saved then would be found by nobody.
type savedPreferences struct {
	prefs.Store
	shared *atomic.Bool
}

var errKeyNotShared = fmt.Errorf("%w: the caller key that all instances share is not known yet", prefs.ErrUnavailable)

func (s savedPreferences) Get(ctx context.Context, user string) (prefs.Document, prefs.Revision, error) {
	if !s.shared.Load() {
		return prefs.Document{}, 0, errKeyNotShared
	}
	return s.Store.Get(ctx, user)
}

func (s savedPreferences) Update(ctx context.Context, user string, change func(prefs.Document) (prefs.Document, error)) (prefs.Document, error) {
	if !s.shared.Load() {
		return prefs.Document{}, errKeyNotShared
	}
	return s.Store.Update(ctx, user, change)
}

func (s savedPreferences) Delete(ctx context.Context, user string) error {
	if !s.shared.Load() {
		return errKeyNotShared
	}
	return s.Store.Delete(ctx, user)
}
