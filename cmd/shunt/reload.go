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
	watched := watchlist{w, map[string]bool{}}
	a.watchFiles(watched, c)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.watch(ctx, watched, hup)
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

func (a *app) watch(ctx context.Context, w watchlist, hup <-chan os.Signal) {
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
			a.reload(ctx, w)
			late.Reset(lateness)
		case <-timer.C:
			a.reload(ctx, w)
			late.Reset(lateness)
		case <-late.C:
			if err := a.tidy(ctx); err != nil {
				a.log.Error("tidy up after a reload", "error", err)
			}
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			if w.concerns(e.Name) {
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

// files are those whose change means a reload. Of a link, what it leads to is one too.
func (a *app) files(c *catalog.Catalog) []string {
	files := []string{a.flags.path}
	for _, s := range c.Secrets() {
		if f := s.Secret.File(); f != "" {
			files = append(files, f)
		}
	}
	if j := c.Identity.JWT; j != nil && j.JWKSFile != "" {
		files = append(files, j.JWKSFile)
	}
	for _, f := range files {
		if target, err := filepath.EvalSymlinks(f); err == nil && target != filepath.Clean(f) {
			files = append(files, target)
		}
	}
	return files
}

// watchlist is what a reload depends on: directories are watched, because a file that
// is replaced by a rename is another file. Of the files in them the last names are kept:
// a directory that was added under two names (relative, or by a link) is reported under
// one of them.
type watchlist struct {
	*fsnotify.Watcher
	names map[string]bool
}

func (a *app) watchFiles(w watchlist, c *catalog.Catalog) {
	for _, f := range a.files(c) {
		w.names[filepath.Base(f)] = true
		// One that is watched already stays so; one that was removed and is back is
		// watched again.
		if err := w.Add(filepath.Dir(f)); err != nil && !errors.Is(err, fsnotify.ErrClosed) {
			a.log.Error("watch", "directory", filepath.Dir(f), "error", err)
		}
	}
}

// concerns reports whether a change of name is a change of ours. Secret mounts swap
// a link beside the files, called ..data.
func (w watchlist) concerns(name string) bool {
	base := filepath.Base(name)
	return base == "..data" || w.names[base]
}

// takenTimeout bounds the wait for Envoy at a reload. It acknowledges in milliseconds.
const takenTimeout = 10 * time.Second

// taken waits until Envoy has the newest configuration. An Envoy that does not answer
// will have it when it is back; one that refuses it is an error. One that runs on a
// rendered file (CMD-2, CMD-5) will never have it, and is not waited for.
func (a *app) taken(ctx context.Context) error {
	if !a.ads.Asked() {
		a.log.Info("reload: no Envoy has its configuration from here; what concerns Envoy has to be rendered again")
		return nil
	}
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

func (a *app) reload(ctx context.Context, w watchlist) {
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
	a.watchFiles(w, c)
	a.reloads.taken.Add(1)
	a.log.Info("reloaded", "catalog", c.Hash)
}
