package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy"
	"github.com/shunt-gateway/shunt/envoy/runner"
	"github.com/shunt-gateway/shunt/extproc"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/identity"
	"github.com/shunt-gateway/shunt/extproc/state"
	"github.com/shunt-gateway/shunt/extproc/telemetry"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/sticky"
)

// app is everything of shunt's but Envoy. start brings its parts up one by one and
// takes down what is up if one fails; stop takes all down in reverse order.
type app struct {
	flags   *configFlags
	log     *slog.Logger
	place   place
	extproc *extproc.Server
	live    extproc.Live
	vitals  vitals
	ads     *envoy.ADS
	source  string     // this instance's name in events
	nacks   chan error // what Envoy refused; one is kept

	ready readiness

	state  *state.State
	hasher *billing.Hasher // of callers
	keyer  *sticky.Keyer   // of conversations
	// callerKeyShared: both go by the key that all instances have.
	callerKeyShared atomic.Bool

	telemetry *telemetry.Telemetry
	reloads   reloads
	refusals  atomic.Uint64 // of configurations, by Envoy
	troubles  seldom        // refusals of requests that are not the client's doing
	runner    atomic.Pointer[runner.Runner]

	accounts *accounts
	// envoyGone: nothing more will be heard of requests that are open, once what is
	// on its way has been read.
	envoyGone atomic.Bool

	mu       sync.Mutex
	catalog  *catalog.Catalog
	closers  []closer
	failures chan error // a part that ended by itself
}

// closer is a part that is up.
type closer struct {
	name string
	stop func(context.Context) error
}

func newApp(flags *configFlags, log *slog.Logger) *app {
	a := &app{flags: flags, log: log, nacks: make(chan error, 1), failures: make(chan error, 8)}
	a.vitals.live = &a.live
	a.ads = envoy.NewADS(a.nacked)
	return a
}

// start brings everything up, or nothing.
func (a *app) start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, a.stop(context.WithoutCancel(ctx)))
		}
	}()
	c, err := a.flags.loadWithSecrets()
	if err != nil {
		return err
	}
	a.place = placeOf(c)
	if err := makeDirs(c.DataDir, a.place.run); err != nil {
		return err
	}
	a.source = instance(c.DataDir)
	if err := a.lock(c.DataDir); err != nil {
		return err
	}
	for _, part := range []func(context.Context, *catalog.Catalog) error{
		a.startTelemetry, a.publish, a.startState, a.startBilling, a.startVitals, a.share, a.startGRPC, a.startAPI, a.startControl, a.startAdmin, a.startWatch,
	} {
		if err := part(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// up registers a part for stop.
func (a *app) up(name string, stop func(context.Context) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closers = append(a.closers, closer{name, stop})
}

// partTimeout bounds the end of each part. Most take milliseconds; NATS flushes its
// files, which on a busy disk takes seconds.
const partTimeout = 30 * time.Second

// stop takes the parts down, newest first.
func (a *app) stop(ctx context.Context) error {
	a.mu.Lock()
	closers := a.closers
	a.closers = nil
	a.mu.Unlock()
	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		c := closers[i]
		bounded, cancel := context.WithTimeout(ctx, partTimeout)
		if err := c.stop(bounded); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", c.name, err))
		}
		cancel()
	}
	return errors.Join(errs...)
}

// publish makes a catalog the one that requests and Envoy go by.
func (a *app) publish(ctx context.Context, c *catalog.Catalog) error {
	o, err := envoyOptions(c)
	if err != nil {
		return err
	}
	old := a.current()
	r, err := envoy.Build(c, old, o, envoy.InlineSecrets(resolve))
	if err != nil {
		return inputError{err}
	}
	w, err := world(c, resolve)
	if err != nil {
		return err
	}
	if err := a.ads.Publish(ctx, r); err != nil {
		return err
	}
	// Envoy first: a decision must not name what Envoy does not know yet.
	if old != nil {
		if err := a.taken(ctx); err != nil {
			return errors.Join(err, a.tidy(ctx))
		}
	}
	a.vitals.adopt(w)
	a.telemetry.Adopt(c)
	a.reloads.at.Store(time.Now().Unix())
	a.mu.Lock()
	a.catalog = c
	a.mu.Unlock()
	return nil
}

// world is what requests are decided by under a catalog.
func world(c *catalog.Catalog, resolve func(catalog.Secret) (string, error)) (*extproc.World, error) {
	id, err := identity.NewReader(&c.Identity, resolve)
	if err != nil {
		return nil, inputError{fmt.Errorf("identity.trusted_headers.secret: %w", err)}
	}
	return &extproc.World{Snapshot: &policy.Snapshot{Catalog: c}, Identity: id, Budget: extproc.NewBudget(c)}, nil
}

// current is the catalog that was published last.
func (a *app) current() *catalog.Catalog {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.catalog
}

// nacked is told by ADS what Envoy refused.
func (a *app) nacked(typeURL, message string) {
	a.refusals.Add(1)
	a.log.Error("envoy refused the configuration", "type", typeURL, "reason", message)
	select {
	case a.nacks <- fmt.Errorf("envoy refused the configuration (%s): %s", typeURL, message):
	default:
	}
}

// failed is told by a part that ended though nobody stopped it.
func (a *app) failed(name string, err error) {
	select {
	case a.failures <- fmt.Errorf("%s: %w", name, err):
	default:
	}
}
