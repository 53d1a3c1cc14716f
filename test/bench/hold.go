package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// opening is how many of the held streams are opened at once: a burst of thousands
// measures overload, not holding.
const opening = 32

// held is what holding streams took.
type held struct {
	target               string
	streams              int
	openedIn             time.Duration
	envoyGrew, goGrew    int64 // RSS in bytes
	before, during, past float64
	goroutines           string // why they are not known; "": they are
}

// hold opens the streams, looks at the target's processes, and leaves.
func (e *env) hold(ctx context.Context, r *report, t *target) error {
	if err := pause(ctx, t.settle+time.Second); err != nil {
		return err
	}
	h := held{target: t.name}
	envoyBefore, goBefore, err := t.memory()
	if err != nil {
		return err
	}
	h.before, h.goroutines = e.countGoroutines(ctx, t)
	begun := time.Now()
	conns, bad := openStreams(ctx, t.load(siteHeld, streamed), e.options.held)
	h.openedIn, h.streams = time.Since(begun), len(conns)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	r.bad(t.name+", held streams", bad)
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	envoyDuring, goDuring, err := t.memory()
	if err != nil {
		return err
	}
	h.envoyGrew, h.goGrew = envoyDuring-envoyBefore, goDuring-goBefore
	if h.goroutines == "" {
		h.during, h.goroutines = e.countGoroutines(ctx, t)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	if err := pause(ctx, t.settle+time.Second); err != nil {
		return err
	}
	if h.goroutines == "" {
		h.past, h.goroutines = e.countGoroutines(ctx, t)
	}
	r.held = append(r.held, h)
	return nil
}

// openStreams returns the connections whose first event has come, and what the
// others met.
func openStreams(ctx context.Context, l *load, n int) (open []*conn, bad result) {
	bad.bad = map[string]int{}
	var mu sync.Mutex // guards open and bad
	var tickets atomic.Int64
	var workers sync.WaitGroup
	for range opening {
		workers.Go(func() {
			for tickets.Add(1) <= int64(n) && ctx.Err() == nil {
				c, err := l.hold(ctx)
				mu.Lock()
				if err != nil {
					bad.bad[err.Error()]++
				} else {
					open = append(open, c)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return open, bad
}

// hold opens one stream and reads its first event.
func (l *load) hold(ctx context.Context) (*conn, error) {
	c, err := dial(ctx, l.addr)
	if err != nil {
		return nil, netError(err)
	}
	if err = c.SetDeadline(time.Now().Add(20 * time.Second)); err == nil {
		_, err = c.Write(l.request)
	}
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(c.in, nil) //nolint:bodyclose // it would read on to the stream's end
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", resp.Status)
	}
	if err == nil {
		_, err = io.ReadFull(resp.Body, make([]byte, len("data: ")))
	}
	if err != nil {
		_ = c.Close()
		return nil, netError(err)
	}
	return c, nil
}

// memory is the resident memory of the target's processes.
func (t *target) memory() (envoy, goes int64, err error) {
	for sum, pids := range map[*int64][]int{&envoy: t.envoyOf, &goes: t.goOf} {
		for _, pid := range pids {
			n, err := rss(pid)
			if err != nil {
				return 0, 0, err
			}
			*sum += n
		}
	}
	return envoy, goes, nil
}

// countGoroutines reads shunt's metrics; unknown says why there is no count.
func (e *env) countGoroutines(ctx context.Context, t *target) (n float64, unknown string) {
	if t != e.shunt {
		return 0, "no metrics"
	}
	text, err := get(ctx, "http://"+e.admin+"/metrics")
	if err != nil {
		return 0, err.Error()
	}
	return findGoroutines(text)
}

// findGoroutines looks for the Go collector's metric, or OpenTelemetry's.
func findGoroutines(metrics []byte) (n float64, unknown string) {
	lines := bufio.NewScanner(bytes.NewReader(metrics))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(" "))
		name, _, _ = bytes.Cut(name, []byte("{"))
		if s := string(name); s == "go_goroutines" || s == "go_goroutine_count" {
			if n, err := strconv.ParseFloat(string(bytes.TrimSpace(value)), 64); err == nil {
				return n, ""
			}
		}
	}
	return 0, "/metrics has no go_goroutines"
}
