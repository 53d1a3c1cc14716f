package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"
)

// readiness answers /readyz. Until set it says that shunt is starting.
type readiness struct {
	mu sync.Mutex
	f  func(context.Context) error
}

var errStarting = errors.New("starting")

func (r *readiness) set(f func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.f = f
}

func (r *readiness) check(ctx context.Context) error {
	r.mu.Lock()
	f := r.f
	r.mu.Unlock()
	if f == nil {
		return errStarting
	}
	return f(ctx)
}

// adminHandler serves operators: health and metrics (CMD-8). Off loopback every
// path but /healthz asks for admin_token (SEC-3).
func (a *app) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"status": "alive"})
	})
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", a.telemetry.Handler())
	for path, h := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/profile": pprof.Profile, "/debug/pprof/symbol": pprof.Symbol,
		"/debug/pprof/trace": pprof.Trace, "/debug/pprof/cmdline": pprof.Cmdline,
	} {
		mux.HandleFunc("GET "+path, h)
	}
	return a.withToken(mux)
}

// readyTimeout bounds one look at Envoy.
const readyTimeout = 2 * time.Second

func (a *app) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	detail := map[string]any{"status": "ready"}
	if c := a.current(); c != nil {
		detail["catalog"] = c.Hash
	}
	if a.state != nil {
		detail["state"] = a.state.Health()
	}
	if err := a.ready.check(ctx); err != nil {
		detail["status"], detail["reason"] = "not ready", err.Error()
		writeJSON(w, http.StatusServiceUnavailable, detail)
		return
	}
	writeJSON(w, http.StatusOK, detail)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("content-type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client's connection; nobody else to tell
}
