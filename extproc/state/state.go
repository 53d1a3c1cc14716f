// Package state keeps what outlives a request: saved preferences and which provider
// served which conversation. It runs on NATS JetStream, inside the process or as a
// cluster that several instances share; read caches stand in front, kept right by
// watching the buckets. See docs/state.md.
package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/catalog"
)

// Options say where state lives and how much of it is kept in memory.
type Options struct {
	State     catalog.State
	DataDir   string        // absolute; an embedded NATS keeps its files in nats below it
	StickyTTL time.Duration // routing.sticky_ttl
	Instance  string        // names this connection to operators of NATS; may be ""
	Log       *slog.Logger

	limits *limits // nil: usual
}

// limits bound how long NATS is waited for on someone's behalf.
type limits struct {
	load   time.Duration // one read for a request that is to be routed
	ask    time.Duration // one for a user who wants to see what is saved
	update time.Duration // an Update or Delete as a whole
	setup  time.Duration // a CallerKey or SetTTL as a whole
	ack    time.Duration // what a Record has NATS keep
}

var usual = limits{load: 100 * time.Millisecond, ask: 2 * time.Second, update: 3 * time.Second, setup: setupTimeout, ack: 5 * time.Second}

// State is the open engine. Its methods may be called by several goroutines at once,
// Close once.
type State struct {
	log    *slog.Logger
	limits limits
	server *server.Server // nil: NATS is external
	conn   *nats.Conn
	js     jetstream.JetStream
	link   *link
	names  *names
	count  counters

	prefs  *Preferences
	sticky *Sticky
	keys   *bucket

	stop context.CancelFunc
	work sync.WaitGroup
}

// Open starts or connects to NATS. An external NATS that does not answer within
// ctx, at most four seconds, is no error: Open returns, Health says what is missing,
// and the connection is made as soon as it can be.
func Open(ctx context.Context, o Options) (*State, error) {
	s := &State{log: o.Log, limits: usual, link: newLink(), names: newNames()}
	if o.limits != nil {
		s.limits = *o.limits
	}
	if err := s.connect(ctx, o); err != nil {
		return nil, errors.Join(err, s.closeEngine(ctx))
	}
	var err error
	if s.js, err = jetstream.New(s.conn); err == nil {
		err = s.openStores(o)
	}
	if err != nil {
		s.closeStores()
		return nil, errors.Join(fmt.Errorf("open the state: %w", err), s.closeEngine(ctx))
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.work.Go(func() { s.prefs.watch.run(run) })
	s.work.Go(func() { s.sticky.watch.run(run) })
	s.work.Go(func() { s.sticky.write(run) })
	if s.conn.IsConnected() {
		s.await(ctx)
	}
	return s, nil
}

// await gives the buckets a moment to be there: who opens a State may read at once.
func (s *State) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for _, b := range []*bucket{s.prefs.bucket, s.sticky.bucket} {
		select {
		case <-b.seen:
		case <-ctx.Done():
		}
	}
}

func (s *State) connect(ctx context.Context, o Options) error {
	if o.State.Embedded() {
		var err error
		if s.server, err = startServer(ctx, o.DataDir, o.Log); err != nil {
			return err
		}
	}
	var err error
	s.conn, err = dial(ctx, o, s.server, s.link)
	return err
}

func (s *State) openStores(o Options) error {
	var err error
	if s.prefs, err = newPreferences(s, o); err != nil {
		return err
	}
	if s.sticky, err = newSticky(s, o); err != nil {
		return err
	}
	s.keys = newBucket(s.js, o.State.Prefix+"_keys", keysConfig(o))
	return nil
}

// Preferences is the store of saved preferences.
func (s *State) Preferences() *Preferences { return s.prefs }

// Sticky is the store of providers by conversation.
func (s *State) Sticky() *Sticky { return s.sticky }

// JetStream is for others that keep state in the same NATS.
func (s *State) JetStream() jetstream.JetStream { return s.js }

// Conn is the connection that everything here uses. Who uses it does not close it.
func (s *State) Conn() *nats.Conn { return s.conn }

// Close writes what stickiness still has to write, as far as ctx allows, and ends
// everything. The stores answer afterwards as if NATS were away and their caches
// empty.
func (s *State) Close(ctx context.Context) error {
	s.sticky.flush(ctx)
	s.stop()
	s.work.Wait()
	s.closeStores()
	return s.closeEngine(ctx)
}

func (s *State) closeStores() {
	if s.prefs != nil {
		s.prefs.cache.close()
	}
	if s.sticky != nil {
		s.sticky.cache.close()
	}
}

func (s *State) closeEngine(ctx context.Context) error {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.server == nil {
		return nil
	}
	s.server.Shutdown()
	done := make(chan struct{})
	go func() { s.server.WaitForShutdown(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("the embedded NATS server did not stop in time"), ctx.Err())
	}
}
