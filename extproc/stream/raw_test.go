package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// raw is a client that sends what it likes.
type raw struct {
	net.Conn
	*http2.Framer
	out bytes.Buffer
}

func (r *rig) raw() *raw {
	r.t.Helper()
	nc, err := net.Dial("unix", r.socket)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	c := &raw{Conn: nc}
	c.Framer = http2.NewFramer(&c.out, nc)
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return c
}

// open begins a call with two messages in one frame.
func (c *raw) open(t *testing.T, id uint32, first, second string) {
	t.Helper()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: method}, {Name: ":authority", Value: "x"}} {
		if err := enc.WriteField(f); err != nil {
			t.Fatal(err)
		}
	}
	var data []byte
	for _, m := range []string{first, second} {
		b, err := proto.Marshal(wrapperspb.Bytes([]byte(m)))
		if err != nil {
			t.Fatal(err)
		}
		data = append(binary.BigEndian.AppendUint32(append(data, 0), uint32(len(b))), b...)
	}
	if err := errors.Join(
		c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}),
		c.WriteData(id, false, data),
	); err != nil {
		t.Fatal(err)
	}
}

// flush sends all that was written, at once.
func (c *raw) flush(t *testing.T) {
	t.Helper()
	if _, err := c.Write(c.out.Bytes()); err != nil {
		t.Fatal(err)
	}
	c.out.Reset()
}

func (c *raw) greet(t *testing.T, settings ...http2.Setting) {
	t.Helper()
	c.out.WriteString(http2.ClientPreface)
	if err := c.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
}

// answer reads up to the end of a stream: how much data came in how many frames.
func (c *raw) answer(t *testing.T, id uint32) (size, frames int) {
	t.Helper()
	for {
		f, err := c.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			size += len(f.Data())
			frames++
		case *http2.MetaHeadersFrame:
			if f.StreamID == id && f.StreamEnded() {
				return size, frames
			}
		}
	}
}

// While this process stood still, its peer gave a call up: nobody decides it.
func TestGivenUpBeforeItWasRead(t *testing.T) {
	r := newRig(t)
	c := r.raw()
	c.greet(t)
	c.open(t, 1, "a", "given up")
	c.open(t, 3, "a", "not")
	if err := c.WriteRSTStream(1, http2.ErrCodeCancel); err != nil {
		t.Fatal(err)
	}
	c.flush(t)
	if size, _ := c.answer(t, 3); size == 0 {
		t.Error("no answer")
	}
	first, second := r.end(), r.end()
	if !errors.Is(first, context.Canceled) || second != nil {
		t.Errorf("%v, then %v", first, second)
	}
}

// An answer waits for the room that its reader gives it.
func TestNoRoom(t *testing.T) {
	r := newRig(t)
	c := r.raw()
	c.greet(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3})
	c.open(t, 1, "a", "0123456789")
	c.open(t, 3, "a", "0123456789")
	c.flush(t)
	if err := errors.Join(r.end(), r.end()); err != nil { // both are on their way
		t.Fatal(err)
	}
	if err := errors.Join(
		c.WriteRSTStream(3, http2.ErrCodeCancel),
		c.WriteWindowUpdate(1, 4),
		c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}),
	); err != nil {
		t.Fatal(err)
	}
	c.flush(t)
	const message = prefix + 2 + 10
	if size, frames := c.answer(t, 1); size < 2*message || size > 2*message+3 || frames < 3 {
		t.Errorf("%d bytes in %d frames", size, frames)
	}
}

func TestNotHTTP2(t *testing.T) {
	r := newRig(t)
	for name, say := range map[string]func(c *raw){
		"HTTP/1.1":      func(c *raw) { c.out.WriteString("POST / HTTP/1.1\r\nhost: x\r\n\r\n") },
		"a bad setting": func(c *raw) { c.greet(t, http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1}) },
		"a bad frame":   func(c *raw) { c.greet(t); c.out.WriteString("\x00\x00\x01\x08\x00\x00\x00\x00\x00x") },
		"too much room": func(c *raw) { c.greet(t); _ = c.WriteWindowUpdate(0, 1<<31-1); _ = c.WriteWindowUpdate(0, 1<<31-1) },
	} {
		c := r.raw()
		say(c)
		c.flush(t)
		for {
			if _, err := c.ReadFrame(); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: still open", name)
				}
				break
			}
		}
	}
	if got, err := r.say(context60(t), "a", "still there"); err != nil || len(got) != 2 {
		t.Errorf("%q, %v", got, err)
	}
}
