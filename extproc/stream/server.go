package stream

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
)

// Call is one call. Its methods are called one at a time, in the order Message…,
// Answer, End, of which only End is certain.
type Call interface {
	// Message takes one message, whose bytes are the caller's again when it returns,
	// and says whether the answer can be made. An error ends the call with its gRPC
	// status.
	Message(m []byte) (complete bool, err error)
	// Slow reports that Answer may block or take long. It then has a goroutine of its
	// own; otherwise the calls of the same connection wait for it.
	Slow() bool
	// Answer appends the answer's messages to dst, each by AppendMessage.
	Answer(dst []byte) ([]byte, error)
	// End is called once: err is nil when the answer is on its way, context.Canceled
	// when nobody waits for it any more, or what Message or Answer returned.
	End(err error)
}

// Server serves calls. Its fields are set before Serve.
type Server struct {
	Method     string // "/package.Service/Method"
	MaxMessage int    // of what is received, in bytes
	// Begin takes a call. ctx has the call's metadata, as grpc-go's has, and ends with
	// the call.
	Begin func(ctx context.Context) Call
	Log   *slog.Logger

	mu      sync.Mutex
	ln      net.Listener
	conns   map[*conn]struct{}
	stopped bool
	wg      sync.WaitGroup
}

// Serve accepts connections until Shutdown, and returns nil then.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return ln.Close()
	}
	s.ln = ln
	s.mu.Unlock()
	for {
		nc, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		s.start(newConn(s, nc))
	}
}

func (s *Server) start(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		_ = c.nc.Close() // it has sent nothing yet that was read
		return
	}
	if s.conns == nil {
		s.conns = make(map[*conn]struct{})
	}
	s.conns[c] = struct{}{}
	s.wg.Go(func() {
		err := c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		if err != nil {
			s.Log.Error("ext_proc connection closed", "error", err) // SEC-6
		}
	})
}

// Shutdown stops accepting and ends the connections when their calls have: at the
// latest when ctx is done.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.stopped = true
	if s.ln != nil {
		_ = s.ln.Close() // Serve returns
	}
	for c := range s.conns {
		c.drain()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		_ = c.nc.Close() // serve returns
	}
	s.mu.Unlock()
	<-done
}
