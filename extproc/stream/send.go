package stream

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/status"
)

// AppendMessage appends a message as gRPC frames it; write appends its bytes.
func AppendMessage(dst []byte, write func([]byte) ([]byte, error)) ([]byte, error) {
	start := len(dst)
	dst, err := write(append(dst, 0, 0, 0, 0, 0))
	if err == nil {
		binary.BigEndian.PutUint32(dst[start+1:], uint32(len(dst)-start-prefix))
	}
	return dst, err
}

// outgoing is what is to be sent of an answer.
type outgoing struct {
	window  int64
	data    []byte
	waiting bool // for room
}

// writer is the sending half of a connection, under its lock.
type writer struct {
	buf     []byte
	window  int64 // of the connection
	initial int64 // of a new stream
	frames  int   // bytes of one frame at most
	full    []*call
}

func newWriter() writer { return writer{window: firstWindow, initial: firstWindow, frames: 1 << 14} }

func (c *conn) head(kind http2.FrameType, flags http2.Flags, id uint32, size int) {
	c.buf = append(c.buf, byte(size>>16), byte(size>>8), byte(size), byte(kind), byte(flags))
	c.buf = binary.BigEndian.AppendUint32(c.buf, id)
}

// greet sends what a server says first.
func (c *conn) greet() {
	settings := []http2.Setting{
		{ID: http2.SettingMaxConcurrentStreams, Val: 1 << 20}, // load is shed where a caller can be told so
		{ID: http2.SettingInitialWindowSize, Val: window},
		{ID: http2.SettingMaxHeaderListSize, Val: maxHeaders},
	}
	c.head(http2.FrameSettings, 0, 0, 6*len(settings))
	for _, s := range settings {
		c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(s.ID))
		c.buf = binary.BigEndian.AppendUint32(c.buf, s.Val)
	}
	c.extend(window - firstWindow)
}

// extend gives the peer n bytes more of the connection's window.
func (c *conn) extend(n uint32) {
	c.head(http2.FrameWindowUpdate, 0, 0, 4)
	c.buf = binary.BigEndian.AppendUint32(c.buf, n)
}

func (c *conn) rst(id uint32, code http2.ErrCode) {
	c.head(http2.FrameRSTStream, 0, id, 4)
	c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(code))
}

// field is a header that the peer need not remember.
func field(dst []byte, name, value string) []byte {
	dst = append(append(dst, 0, byte(len(name))), name...) // the names here are short
	const most = 0x7f
	if n := len(value); n < most {
		dst = append(dst, byte(n))
	} else {
		dst = append(dst, most)
		for n -= most; n >= 0x80; n >>= 7 {
			dst = append(dst, byte(n)|0x80)
		}
		dst = append(dst, byte(n))
	}
	return append(dst, value...)
}

const status200 = 0x88 // :status 200, from HPACK's table

var (
	headers  = field([]byte{status200}, "content-type", "application/grpc")
	trailers = field(nil, "grpc-status", "0")
)

// send answers a call.
func (c *conn) send(s *call, answer []byte) {
	c.head(http2.FrameHeaders, http2.FlagHeadersEndHeaders, s.id, len(headers))
	c.buf = append(c.buf, headers...)
	s.out.data = answer
	c.proceed(s)
}

// proceed sends as much of an answer as there is room for.
func (c *conn) proceed(s *call) {
	for len(s.out.data) > 0 {
		n := int(min(int64(len(s.out.data)), int64(c.frames), c.window, s.out.window))
		if n <= 0 {
			if !s.out.waiting {
				s.out.waiting = true
				c.full = append(c.full, s)
			}
			return
		}
		c.head(http2.FrameData, 0, s.id, n)
		c.buf = append(c.buf, s.out.data[:n]...)
		s.out.data = s.out.data[n:]
		c.window -= int64(n)
		s.out.window -= int64(n)
	}
	s.out.waiting = false
	c.close(s, trailers)
}

// close ends a stream, also for a peer that has more to say.
func (c *conn) close(s *call, last []byte) {
	c.head(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, s.id, len(last))
	c.buf = append(c.buf, last...)
	if !s.closed {
		c.rst(s.id, http2.ErrCodeNo)
	}
}

// maxReason is what is told of an error at most, in bytes.
const maxReason = 1000

// fail ends a call with the status of an error.
func (c *conn) fail(s *call, err error) {
	st := status.Convert(err)
	block := field(headers[:len(headers):len(headers)], "grpc-status", strconv.Itoa(int(st.Code())))
	c.close(s, field(block, "grpc-message", escaped(st.Message())))
}

// escaped is a message as gRPC sends it: percent-encoded ASCII.
func escaped(text string) string {
	var b strings.Builder
	for i := 0; i < min(len(text), maxReason); i++ {
		if ch := text[i]; ch >= ' ' && ch <= '~' && ch != '%' {
			b.WriteByte(ch)
		} else {
			const hex = "0123456789ABCDEF"
			b.Write([]byte{'%', hex[ch>>4], hex[ch&15]})
		}
	}
	return b.String()
}

var errWindow = errors.New("a window of more than HTTP/2 has")

// control takes what the peer says of the connection.
func (c *conn) control(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.PingFrame:
		if !f.IsAck() {
			c.head(http2.FramePing, http2.FlagPingAck, 0, len(f.Data))
			c.buf = append(c.buf, f.Data[:]...)
		}
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		if err := f.ForeachSetting(c.setting); err != nil {
			return err
		}
		c.head(http2.FrameSettings, http2.FlagSettingsAck, 0, 0)
		c.resume()
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			if c.window += int64(f.Increment); c.window > window {
				return errWindow
			}
		} else {
			c.room(f.StreamID, int64(f.Increment))
		}
		c.resume()
	}
	return nil
}

func (c *conn) setting(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingMaxFrameSize:
		c.frames = int(s.Val)
	case http2.SettingInitialWindowSize:
		change := int64(s.Val) - c.initial
		c.initial = int64(s.Val)
		for _, s := range c.calls {
			s.out.window += change
		}
		for _, s := range c.full {
			s.out.window += change
		}
	}
	return nil
}

// room gives a stream more of its window.
func (c *conn) room(id uint32, n int64) {
	if s := c.calls[id]; s != nil {
		s.out.window += n
	}
	for _, s := range c.full {
		if s.id == id {
			s.out.window += n
		}
	}
}

// resume goes on with the answers that waited for room.
func (c *conn) resume() {
	if len(c.full) == 0 {
		return
	}
	waited := c.full
	c.full = nil
	for _, s := range waited {
		s.out.waiting = false
		c.proceed(s)
	}
}

// errDrained ends a connection that has nothing left to do.
var errDrained = errors.New("drained")

// mostKept is how large a buffer may be that is kept for the next answers.
const mostKept = 1 << 20

// flush writes.
func (c *conn) flush() error {
	if len(c.buf) > 0 {
		_, err := c.nc.Write(c.buf)
		if c.buf = c.buf[:0]; cap(c.buf) > mostKept {
			c.buf = nil
		}
		if err != nil {
			return err
		}
	}
	if c.draining && len(c.calls) == 0 && len(c.full) == 0 {
		return errDrained
	}
	return nil
}

// drain has the peer open no more calls, and the connection end with the last.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	c.head(http2.FrameGoAway, 0, 0, 8)
	c.buf = binary.BigEndian.AppendUint32(c.buf, window)
	c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(http2.ErrCodeNo))
	if c.flush() != nil {
		_ = c.nc.Close() // the reader sees it
	}
}
