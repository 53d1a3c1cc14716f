package runner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// pollEvery is how often a draining or starting Envoy is asked how far it is.
const pollEvery = 50 * time.Millisecond

// adminCall bounds one request to Envoy's admin interface.
const adminCall = 5 * time.Second

// admin talks to Envoy's admin interface on a Unix socket.
type admin struct {
	socket string
	http   *http.Client
}

func newAdmin(socket string) *admin {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	// No connection is kept: a client that outlives an Envoy must not keep a
	// goroutine for it.
	return &admin{socket: socket, http: &http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
		Timeout:   adminCall,
	}}
}

func (a *admin) call(ctx context.Context, method, path string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, "", fmt.Errorf("admin %s: %w", path, err)
	}
	return resp.StatusCode, string(body), nil
}

// notLiveError is Envoy's own word that it is not ready yet, or draining.
type notLiveError struct{ state string }

func (e *notLiveError) Error() string { return "not serving: Envoy is " + e.state }

// ready is nil when Envoy serves. A *notLiveError means that it answers, but
// does not serve.
func (a *admin) ready(ctx context.Context) error {
	status, body, err := a.call(ctx, http.MethodGet, "/ready")
	if err != nil {
		return fmt.Errorf("asking Envoy whether it is ready: %w", err)
	}
	if status != http.StatusOK {
		return &notLiveError{state: strings.ToLower(strings.TrimSpace(body))}
	}
	return nil
}

// reopen makes Envoy open its log files by their names again.
func (a *admin) reopen(ctx context.Context) error {
	status, _, err := a.call(ctx, http.MethodPost, "/reopen_logs")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("POST /reopen_logs answered %d", status)
	}
	if err != nil {
		return fmt.Errorf("making Envoy open its log files again: %w", err)
	}
	return nil
}

// drain closes the listeners at once, so that their ports are free for another
// Envoy, lets the requests in flight end, and returns when there have been none
// for linger. Connections are kept, but each answer on them asks for their end.
func (a *admin) drain(ctx context.Context, linger time.Duration) error {
	for _, path := range []string{"/healthcheck/fail", "/drain_listeners"} {
		status, _, err := a.call(ctx, http.MethodPost, path)
		if err != nil {
			return fmt.Errorf("draining: %w", err)
		}
		if status != http.StatusOK {
			return fmt.Errorf("draining: POST %s answered %d", path, status)
		}
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var idleSince time.Time
	for {
		n, err := a.active(ctx)
		now := time.Now()
		switch {
		case err != nil:
			return fmt.Errorf("draining: %w", err)
		case n > 0:
			idleSince = time.Time{}
		case idleSince.IsZero():
			idleSince = now
		case now.Sub(idleSince) >= linger:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("draining: %d requests still in flight: %w", n, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// active counts the requests in flight, those to the admin interface left out.
func (a *admin) active(ctx context.Context) (int, error) {
	status, body, err := a.call(ctx, http.MethodGet, `/stats?filter=downstream_rq_active$`)
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("GET /stats answered %d", status)
	}
	return sumActive(body)
}

func sumActive(stats string) (int, error) {
	sum := 0
	lines := bufio.NewScanner(strings.NewReader(stats))
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), ": ")
		// A listener counts the requests of its connection managers again.
		if !ok || !strings.HasPrefix(name, "http.") || strings.HasPrefix(name, "http.admin.") {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return 0, fmt.Errorf("stat %s is %q, not a number", name, value)
		}
		sum += n
	}
	return sum, lines.Err()
}

// notLive reports whether err is an answer of Envoy's, rather than none.
func notLive(err error) bool {
	var n *notLiveError
	return errors.As(err, &n)
}
