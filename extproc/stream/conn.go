package stream

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	// readBuffer is what is read at once: more than a Unix socket holds. So a call
	// that was given up while this process stood still is seen to be.
	readBuffer = 256 << 10
	// window is what may come of a stream or a connection before it is said to be
	// read: the most that HTTP/2 has.
	window      = 1<<31 - 1
	firstWindow = 1<<16 - 1 // of every connection
	refill      = 1 << 24   // of the connection's window, at a time
	maxHeaders  = 64 << 10
	prefix      = 5 // bytes in front of a gRPC message: compressed or not, length
)

// call is one stream of a connection.
type call struct {
	Call
	id      uint32
	cancel  context.CancelFunc
	partial []byte // of a message that is not whole
	queued  bool   // complete, and not answered
	closed  bool   // by the peer, for sending
	over    bool   // End is called, or about to be; under the connection's lock
	out     outgoing
}

// conn is one connection. Its reader owns what is not under mu.
type conn struct {
	server *Server
	nc     net.Conn
	in     *bufio.Reader
	framer *http2.Framer
	ctx    context.Context
	stop   context.CancelFunc
	ready  []*call // complete calls, oldest first
	spare  []byte  // for the next answer
	unread int     // bytes that the connection's window is down by
	last   uint32  // highest stream so far
	slow   sync.WaitGroup

	mu       sync.Mutex
	calls    map[uint32]*call
	draining bool
	writer
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{server: s, nc: nc, in: bufio.NewReaderSize(nc, readBuffer), calls: make(map[uint32]*call), writer: newWriter()}
	c.framer = http2.NewFramer(io.Discard, c.in)
	c.framer.SetReuseFrames()
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.MaxHeaderListSize = maxHeaders
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// serve returns when the connection has ended; nil: as it should.
func (c *conn) serve() error {
	err := c.read()
	c.stop()
	_ = c.nc.Close() // nothing is left to write
	c.mu.Lock()
	left := c.calls
	c.calls = nil
	c.mu.Unlock()
	c.slow.Wait()
	for _, s := range left {
		if !s.over {
			s.cancel()
			s.End(context.Canceled)
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, errDrained) {
		return nil
	}
	return err
}

func (c *conn) read() error {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.in, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return errors.New("this is not HTTP/2")
	}
	c.mu.Lock()
	c.greet()
	c.mu.Unlock()
	for {
		if err := c.rest(); err != nil {
			return err
		}
		f, err := c.framer.ReadFrame()
		if broken, ok := errors.AsType[http2.StreamError](err); ok {
			c.reset(broken.StreamID, broken.Code)
			continue
		}
		if err == nil {
			err = c.frame(f)
		}
		if err != nil {
			return err
		}
	}
}

// rest answers and writes before reading may wait: when all that has arrived was
// read.
func (c *conn) rest() error {
	if c.whole() {
		return nil
	}
	for len(c.ready) > 0 {
		s := c.ready[0]
		c.ready = c.ready[1:]
		c.answer(s)
		if err := c.flushOver(enough); err != nil {
			return err
		}
	}
	c.ready = nil
	return c.flushOver(0)
}

// enough is how many bytes of answers are written though there are more to make.
const enough = 16 << 10

func (c *conn) flushOver(size int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.buf) < size {
		return nil
	}
	return c.flush()
}

// whole reports whether a whole frame is in the buffer.
func (c *conn) whole() bool {
	const head = 9
	if c.in.Buffered() < head {
		return false
	}
	h, err := c.in.Peek(head)
	return err == nil && c.in.Buffered() >= head+int(h[0])<<16+int(h[1])<<8+int(h[2])
}

func (c *conn) frame(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		c.begin(f)
	case *http2.DataFrame:
		c.data(f)
	case *http2.RSTStreamFrame:
		c.gone(f.StreamID)
	case *http2.SettingsFrame, *http2.WindowUpdateFrame, *http2.PingFrame:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.control(f)
	}
	return nil // PRIORITY, GOAWAY and what is not known need no answer
}

// begin takes the headers of a call.
func (c *conn) begin(f *http2.MetaHeadersFrame) {
	if s := c.call(f.StreamID); s != nil { // trailers
		if s.queued {
			return
		}
		s.closed = s.closed || f.StreamEnded()
		c.incomplete(s)
		return
	}
	if f.StreamID <= c.last {
		return // of a call that is over
	}
	c.last = f.StreamID
	s := &call{id: f.StreamID, closed: f.StreamEnded()}
	if path := f.PseudoValue("path"); f.Truncated || path != c.server.Method {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.fail(s, status.Errorf(codes.Unimplemented, "method %.200q is not served here", path))
		return
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(c.ctx)
	if md := metadataOf(f); md != nil {
		ctx = metadata.NewIncomingContext(ctx, md)
	}
	s.Call = c.server.Begin(ctx)
	c.mu.Lock()
	s.out.window = c.initial
	c.calls[s.id] = s
	c.mu.Unlock()
	c.incomplete(s)
}

// metadataOf leaves out what gRPC and Envoy themselves put there.
func metadataOf(f *http2.MetaHeadersFrame) (md metadata.MD) {
	for _, h := range f.RegularFields() {
		switch {
		case h.Name == "te", h.Name == "content-type", strings.HasPrefix(h.Name, "grpc-"), strings.HasPrefix(h.Name, "x-envoy-"), h.Name == "x-forwarded-for":
		default:
			if md == nil {
				md = metadata.MD{}
			}
			md[h.Name] = append(md[h.Name], h.Value)
		}
	}
	return md
}

func (c *conn) call(id uint32) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[id]
}

// data takes a part of a call's messages.
func (c *conn) data(f *http2.DataFrame) {
	if c.unread += int(f.Length); c.unread >= refill {
		c.mu.Lock()
		c.extend(uint32(c.unread))
		c.mu.Unlock()
		c.unread = 0
	}
	s := c.call(f.StreamID)
	if s == nil || s.queued {
		return // of a call that is over, or as good as
	}
	s.closed = s.closed || f.StreamEnded()
	rest := f.Data()
	if len(s.partial) > 0 {
		s.partial = append(s.partial, rest...)
		rest = s.partial
	}
	for !s.queued {
		m, after, err := c.message(rest)
		if err != nil {
			c.end(s, nil, err)
			return
		}
		if m == nil {
			break
		}
		rest = after
		complete, err := s.take(m)
		if err != nil {
			c.end(s, nil, err)
			return
		}
		if complete {
			s.queued, s.partial = true, nil
			c.ready = append(c.ready, s)
			return
		}
	}
	if len(rest) != len(s.partial) || len(rest) == 0 { // else it grows, and has not been moved
		s.partial = append(s.partial[:0], rest...)
	}
	c.incomplete(s)
}

// message takes the first message off data; nil: it is not whole.
func (c *conn) message(data []byte) (m, rest []byte, err error) {
	if len(data) < prefix {
		return nil, data, nil
	}
	n := int64(binary.BigEndian.Uint32(data[1:]))
	switch {
	case data[0] != 0:
		return nil, nil, status.Error(codes.Unimplemented, "compressed messages are not read here")
	case n > int64(c.server.MaxMessage):
		return nil, nil, status.Errorf(codes.ResourceExhausted, "a message of %d bytes; the limit is %d", n, c.server.MaxMessage)
	case int64(len(data)) < prefix+n:
		return nil, data, nil
	}
	return data[prefix : prefix+n : prefix+n], data[prefix+n:], nil
}

// take hands a message to the call.
func (s *call) take(m []byte) (complete bool, err error) {
	defer caught(&err)
	return s.Message(m)
}

// caught makes an error of a panic (SEC-6).
func caught(err *error) {
	if r := recover(); r != nil {
		*err = status.Errorf(codes.Internal, "panic: %v", r)
	}
}

// incomplete ends a call whose messages have ended too early.
func (c *conn) incomplete(s *call) {
	if s.closed && !s.queued {
		c.end(s, nil, fmt.Errorf("the messages end too early: %w", context.Canceled))
	}
}

// gone ends a call that the peer has given up.
func (c *conn) gone(id uint32) {
	c.mu.Lock()
	s := c.calls[id]
	delete(c.calls, id)
	c.full = slices.DeleteFunc(c.full, func(s *call) bool { return s.id == id })
	c.mu.Unlock()
	if s == nil {
		return
	}
	s.cancel()
	for i, r := range c.ready {
		if r == s { // nobody has seen it
			c.ready = slices.Delete(c.ready, i, i+1)
			s.End(context.Canceled)
			return
		}
	}
	if !s.queued {
		s.End(context.Canceled)
	}
}

func (c *conn) reset(id uint32, code http2.ErrCode) {
	c.gone(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rst(id, code)
}

// answer makes a call's answer, here or on a goroutine of its own.
func (c *conn) answer(s *call) {
	if !s.Slow() {
		out, err := s.make(c.spare[:0])
		c.spare = out
		if c.end(s, out, err); s.out.waiting {
			c.spare = nil // it is still to be sent
		}
		return
	}
	c.slow.Go(func() {
		out, err := s.make(nil)
		c.end(s, out, err)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := c.flush(); err != nil {
			_ = c.nc.Close() // the reader sees it
		}
	})
}

func (s *call) make(dst []byte) (_ []byte, err error) {
	defer caught(&err)
	return s.Answer(dst)
}

// end sends what there is to send, and ends the call.
func (c *conn) end(s *call, answer []byte, err error) {
	s.cancel()
	c.mu.Lock()
	_, open := c.calls[s.id]
	s.over = true
	if open {
		delete(c.calls, s.id)
		if err == nil {
			c.send(s, answer)
		} else {
			c.fail(s, err)
		}
	}
	c.mu.Unlock()
	if !open && err == nil {
		err = context.Canceled // it was given up meanwhile
	}
	s.End(err)
}
