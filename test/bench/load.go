package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// requestSize is the size of a request's body.
const requestSize = 1 << 10

// kind is the kind of answer that a request asks for: its fields in the body.
type kind string

const (
	whole    kind = ""
	streamed kind = `"stream":true,`
)

// chatBody is a request of requestSize bytes.
func chatBody(model string, k kind) []byte {
	head := fmt.Sprintf(`{"model":%q,%s"messages":[{"role":"user","content":"`, model, k)
	const tail = `"}]}`
	return []byte(head + strings.Repeat("x", requestSize-len(head)-len(tail)) + tail)
}

// post is a request below a base path as it goes over the wire.
func post(base string, body []byte) []byte {
	head := "POST %s/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer client\r\n" +
		"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
	return append(fmt.Appendf(nil, head, base, len(body)), body...)
}

// result is what a load did. Times are from the request's first byte written.
type result struct {
	requests int // all answers, whatever they were
	seconds  float64
	first    []time.Duration // to the body's first byte; good answers only, ascending
	total    []time.Duration // to its last
	bad      map[string]int  // what was not a good answer, and how often
}

// load is a number of keep-alive connections, each with one request at a time.
type load struct {
	addr    string
	request []byte
	// good is the answer's status; with retried, an answer counts only if it took
	// two attempts.
	good    int
	retried bool
	conns   []*conn
}

type conn struct {
	net.Conn
	in     *bufio.Reader
	buffer [4 << 10]byte // what was read of a body last
}

func dial(ctx context.Context, addr string) (*conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReader(c)}, nil
}

// open connects n times.
func (l *load) open(ctx context.Context, n int) error {
	for range n {
		c, err := dial(ctx, l.addr)
		if err != nil {
			l.close()
			return err
		}
		l.conns = append(l.conns, c)
	}
	return nil
}

func (l *load) close() {
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

// run sends requests for d, at least one a connection, waits for the last answers and
// returns the sum.
func (l *load) run(ctx context.Context, d time.Duration) result {
	begun := time.Now()
	parts := make([]result, len(l.conns))
	var workers sync.WaitGroup
	for i := range l.conns {
		workers.Go(func() {
			parts[i].bad = map[string]int{}
			for more := true; more; more = time.Since(begun) < d && ctx.Err() == nil {
				l.one(ctx, i, &parts[i])
			}
		})
	}
	workers.Wait()
	sum := result{seconds: time.Since(begun).Seconds(), bad: map[string]int{}}
	for _, p := range parts {
		sum.requests += p.requests
		sum.first = append(sum.first, p.first...)
		sum.total = append(sum.total, p.total...)
		for what, n := range p.bad {
			sum.bad[what] += n
		}
	}
	slices.Sort(sum.first)
	slices.Sort(sum.total)
	return sum
}

// one sends a request on connection i and adds the answer to r.
func (l *load) one(ctx context.Context, i int, r *result) {
	begun := time.Now()
	got, err := l.conns[i].exchange(l.request)
	total := time.Since(begun)
	r.requests++
	switch {
	case err != nil:
		r.bad[err.Error()]++
		_ = l.conns[i].Close()
		if c, err := dial(ctx, l.addr); err == nil {
			l.conns[i] = c
		} else {
			time.Sleep(10 * time.Millisecond) // not a busy loop against nobody
		}
	case got.status != l.good:
		r.bad[fmt.Sprintf("%d %s", got.status, got.end)]++
	case l.retried && got.attempts != "2":
		r.bad["attempts: "+got.attempts]++
	default:
		r.first = append(r.first, got.first)
		r.total = append(r.total, total)
	}
}

// reply is what matters of an answer.
type reply struct {
	status   int
	attempts string        // x-attempts
	first    time.Duration // to the body's first byte
	end      []byte        // of the body, as it was read last
}

// exchange sends one request and reads its answer to the end.
func (c *conn) exchange(request []byte) (r reply, err error) {
	begun := time.Now()
	// A minute is longer than any answer here but a held one, which is not read so.
	if err := c.SetDeadline(begun.Add(time.Minute)); err != nil {
		return r, err
	}
	if _, err := c.Write(request); err != nil {
		return r, netError(err)
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return r, netError(err)
	}
	defer resp.Body.Close()
	r.status, r.attempts = resp.StatusCode, resp.Header.Get("x-attempts")
	for err == nil {
		var n int
		n, err = resp.Body.Read(c.buffer[:])
		if n > 0 {
			if r.first == 0 {
				r.first = time.Since(begun)
			}
			r.end = c.buffer[:n]
		}
	}
	if !errors.Is(err, io.EOF) {
		return r, netError(err)
	}
	if resp.Header.Get("content-type") == "text/event-stream" && !bytes.HasSuffix(r.end, []byte("\n\n")) {
		return r, errors.New("a stream ended within an event")
	}
	return r, nil
}

// netError takes the addresses off an error, so that like ones are counted as one.
func netError(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// quantile of ascending times, 0 of none.
func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return times[min(int(q*float64(len(times))), len(times)-1)]
}
