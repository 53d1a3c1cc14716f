package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc"
	"github.com/shunt-gateway/shunt/extproc/accesslog"
	"github.com/shunt-gateway/shunt/extproc/api"
	"github.com/shunt-gateway/shunt/policy/sticky"
)

// listenUnix takes a socket that only this user can open. A socket file that a
// killed process left behind is replaced; the lock on data_dir makes sure that no
// living one has it.
func listenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, environmentError{fmt.Errorf("remove the old socket %s: %w", path, err)}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, environmentError{fmt.Errorf("listen on %s: %w", path, err)}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, environmentError{errors.Join(fmt.Errorf("make %s private: %w", path, err), l.Close())}
	}
	return l, nil
}

// streamWorkers are kept for calls, so that their stacks need not grow anew.
const streamWorkers = 32

// startGRPC serves Envoy: decisions, configuration, access log.
func (a *app) startGRPC(ctx context.Context, c *catalog.Catalog) error {
	l, err := listenUnix(a.place.grpc())
	if err != nil {
		return err
	}
	s := grpc.NewServer(
		grpc.MaxRecvMsgSize(int(c.Limits.Body)+1<<20),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.InitialWindowSize(4<<20),
		grpc.InitialConnWindowSize(16<<20),
	)
	adsCtx, stopADS := context.WithCancel(context.WithoutCancel(ctx))
	a.ads.Register(adsCtx, s)
	a.extproc = &extproc.Server{
		Log: a.log, Observe: a.observed,
		Decider: &extproc.Decider{
			Live: &a.live, Source: a.source, Hasher: a.hasher, Now: time.Now, Rand: rand.Uint64,
			Admit: a.accounts.book.Admit, Flights: &a.vitals.flights, Prefs: a.state.Preferences(), Sticky: a.state.Sticky(), Keyer: a.keyer,
		},
	}
	extprocv3.RegisterExternalProcessorServer(s, a.extproc)
	accesslog.New(accesslog.Config{
		Request: a.settle, Attempt: a.attempted, Heard: a.accounts.book.Heard, Gone: a.void,
		Answered: a.answered, Log: a.log,
	}).Register(s)
	go func() {
		if err := s.Serve(l); err != nil {
			a.failed("gRPC server", err)
		}
	}()
	a.up("gRPC server", func(ctx context.Context) error {
		stopADS()
		return stopGRPC(ctx, s)
	})
	return nil
}

// answered records who served a conversation (CACHE-4). The key comes from Envoy; one
// that is none is not recorded.
func (a *app) answered(key, provider string, at time.Time) {
	k, err := sticky.ParseKey(key)
	if err != nil {
		a.log.Error("stickiness", "error", err)
		return
	}
	a.state.Sticky().Record(k, provider, at)
}

// grpcGrace is what open streams get to end: several times what Envoy holds entries of
// its access log back.
const grpcGrace = time.Second

// stopGRPC lets streams end: access log entries on their way are still taken. Under run
// Envoy has ended them before; those of an Envoy that stays (CMD-2) never end.
func stopGRPC(ctx context.Context, s *grpc.Server) error {
	ctx, cancel := context.WithTimeout(ctx, grpcGrace)
	defer cancel()
	done := make(chan struct{})
	go func() { s.GracefulStop(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		s.Stop()
		<-done
	}
	return nil
}

// startAPI serves what Envoy forwards to shunt: models, providers, engines.
func (a *app) startAPI(_ context.Context, _ *catalog.Catalog) error {
	l, err := listenUnix(a.place.api())
	if err != nil {
		return err
	}
	a.serveHTTP("API server", l, api.New(a.current, &api.Preferences{
		Store: savedPreferences{a.state.Preferences(), &a.callerKeyShared}, Session: extproc.Session(&a.live, a.hasher),
	}))
	return nil
}

// startAdmin serves health and metrics to operators.
func (a *app) startAdmin(_ context.Context, c *catalog.Catalog) error {
	l, err := net.Listen("tcp", c.Admin)
	if err != nil {
		return environmentError{fmt.Errorf("admin: listen on %s: %w", c.Admin, err)}
	}
	a.figures()
	a.serveHTTP("admin server", l, a.adminHandler())
	return nil
}

func (a *app) serveHTTP(name string, l net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.failed(name, err)
		}
	}()
	a.up(name, func(ctx context.Context) error {
		if err := s.Shutdown(ctx); err != nil {
			return s.Close()
		}
		return nil
	})
}
