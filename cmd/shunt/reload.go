package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy"
)

// settle is how long files have to be quiet before they are read again: editors
// and secret mounts write in several steps.
const settle = 200 * time.Millisecond

// startWatch reloads when the configuration or a secret's file changes, and on
// SIGHUP. A file that does not validate is reported, and the catalog stays.
func (a *app) startWatch(ctx context.Context, c *catalog.Catalog) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return environmentError{fmt.Errorf("watch the configuration: %w", err)}
	}
	// Directories, because a file that is replaced by a rename is another file.
	watched := map[string]bool{}
	a.watchDirs(w, watched, c)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.watch(ctx, w, watched, hup)
	}()
	a.up("watch", func(context.Context) error {
		signal.Stop(hup)
		cancel()
		err := w.Close()
		<-done
		return err
	})
	return nil
}

func (a *app) watch(ctx context.Context, w *fsnotify.Watcher, watched map[string]bool, hup <-chan os.Signal) {
	timer, late := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	timer.Stop()
	late.Stop()
	defer timer.Stop()
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			a.reload(ctx, w, watched)
			late.Reset(lateness)
		case <-timer.C:
			a.reload(ctx, w, watched)
			late.Reset(lateness)
		case <-late.C:
			if err := a.tidy(ctx); err != nil {
				a.log.Error("tidy up after a reload", "error", err)
			}
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			if a.concerns(e.Name) {
				timer.Reset(settle)
			}
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			a.log.Error("watch", "error", err)
		}
	}
}

// files are those whose change means a reload.
func (a *app) files(c *catalog.Catalog) []string {
	files := []string{a.flags.path}
	for _, s := range c.Secrets() {
		if f := s.Secret.File(); f != "" {
			files = append(files, f)
		}
	}
	return files
}

func (a *app) watchDirs(w *fsnotify.Watcher, watched map[string]bool, c *catalog.Catalog) {
	for _, f := range a.files(c) {
		dir := filepath.Dir(f)
		if watched[dir] {
			continue
		}
		if err := w.Add(dir); err != nil {
			a.log.Error("watch", "directory", dir, "error", err)
			continue
		}
		watched[dir] = true
	}
}

// concerns reports whether a change of name is a change of ours. Secret mounts swap
// a link beside the files, called ..data.
func (a *app) concerns(name string) bool {
	if filepath.Base(name) == "..data" {
		return true
	}
	for _, f := range a.files(a.current()) {
		if filepath.Clean(name) == filepath.Clean(f) {
			return true
		}
	}
	return false
}

// takenTimeout bounds the wait for Envoy at a reload. It acknowledges in milliseconds.
const takenTimeout = 10 * time.Second

// taken waits until Envoy has the newest configuration. An Envoy that does not answer
// will have it when it is back; one that refuses it is an error.
func (a *app) taken(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, takenTimeout)
	defer cancel()
	err := a.ads.Taken(ctx)
	if err == nil || errors.Is(err, envoy.ErrRefused) {
		return err
	}
	a.log.Warn("reload: going on without Envoy", "reason", err)
	return nil
}

// lateness is how long after a reload Envoy keeps what only the configuration before it
// had: longer than a request that was decided by that takes to its last attempt.
const lateness = 5 * time.Minute

// tidy publishes the current catalog alone.
func (a *app) tidy(ctx context.Context) error {
	c := a.current()
	o, err := envoyOptions(c)
	if err != nil {
		return err
	}
	r, err := envoy.Build(c, nil, o, envoy.InlineSecrets(resolve))
	if err != nil {
		return err
	}
	return a.ads.Publish(ctx, r)
}

func (a *app) reload(ctx context.Context, w *fsnotify.Watcher, watched map[string]bool) {
	c, err := a.flags.loadWithSecrets()
	if err != nil {
		a.reloads.refused.Add(1)
		a.log.Error("reload refused; the configuration stays as it was", "error", err)
		return
	}
	if old := a.current(); old.Listen != c.Listen || old.Admin != c.Admin || old.DataDir != c.DataDir {
		a.log.Warn("listen, admin and data_dir change with a restart only")
		c.Listen, c.Admin, c.DataDir = old.Listen, old.Admin, old.DataDir
	}
	if old := a.current(); old.Billing.Durability != c.Billing.Durability {
		a.log.Warn("billing.flush, settle_timeout and outbox change with a restart only")
		c.Billing.Durability = old.Billing.Durability
	}
	if old := sinkNames(a.current()); old != sinkNames(c) {
		a.log.Warn("billing.sinks changes with a restart only", "sinks", old)
		c.Billing.Sinks = a.current().Billing.Sinks
	}
	a.keepTelemetry(c)
	if err := a.publish(ctx, c); err != nil {
		a.reloads.failed.Add(1)
		a.log.Error("reload failed; the configuration stays as it was", "error", err)
		return
	}
	if err := a.state.Sticky().SetTTL(ctx, c.Routing.StickyTTL); err != nil {
		a.log.Warn("reload: NATS hears of the new routing.sticky_ttl when it is back", "error", err)
	}
	a.watchDirs(w, watched, c)
	a.reloads.taken.Add(1)
	a.log.Info("reloaded", "catalog", c.Hash)
}
