package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shunt-gateway/shunt/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Check(m.Run())) }

// patience bounds every wait; it is never an expectation.
const patience = 60 * time.Second

const method = "/test.Echo/Call"

// echo answers two messages with one of both; what they say can change that.
type echo struct {
	ctx   context.Context
	got   [][]byte
	held  chan struct{} // "slow" waits for it
	begun chan<- struct{}
	ends  chan<- error
	phase string
}

func (e *echo) Message(m []byte) (bool, error) {
	var v wrapperspb.BytesValue
	if err := proto.Unmarshal(m, &v); err != nil {
		return false, status.Error(codes.InvalidArgument, err.Error())
	}
	switch string(v.Value) {
	case "refuse":
		return false, status.Error(codes.FailedPrecondition, "no: 100 % ü\n")
	case "panic":
		panic("on the first message")
	}
	e.got = append(e.got, v.Value)
	return len(e.got) == 2, nil
}

func (e *echo) Slow() bool { return string(e.got[0]) == "slow" }

func (e *echo) Answer(dst []byte) ([]byte, error) {
	switch string(e.got[0]) {
	case "slow":
		e.begun <- struct{}{}
		select {
		case <-e.held:
		case <-e.ctx.Done():
			return dst, status.FromContextError(e.ctx.Err()).Err()
		}
	case "burst":
		panic("on the answer")
	}
	for range 2 {
		var err error
		dst, err = AppendMessage(dst, func(b []byte) ([]byte, error) {
			return proto.MarshalOptions{}.MarshalAppend(b, wrapperspb.Bytes(append(bytes.Clone(e.got[1]), e.phase...)))
		})
		if err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func (e *echo) End(err error) { e.ends <- err }

// rig is a server and a client of grpc-go.
type rig struct {
	t      *testing.T
	server *Server
	socket string
	client *grpc.ClientConn
	held   chan struct{}
	begun  chan struct{}
	ends   chan error
}

func newRig(t *testing.T, options ...grpc.DialOption) *rig {
	t.Helper()
	r := &rig{t: t, held: make(chan struct{}), begun: make(chan struct{}, 1000), ends: make(chan error, 10000), socket: filepath.Join(t.TempDir(), "s")}
	r.server = &Server{Method: method, MaxMessage: 4 << 20, Log: slog.New(slog.DiscardHandler), Begin: func(ctx context.Context) Call {
		e := &echo{ctx: ctx, held: r.held, begun: r.begun, ends: r.ends}
		if v := metadata.ValueFromIncomingContext(ctx, "phase"); len(v) == 1 {
			e.phase = v[0]
		}
		return e
	}}
	ln, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ln) }()
	r.client, err = grpc.NewClient("unix:"+r.socket, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.client.Close(); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r.server.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) begin(ctx context.Context) grpc.ClientStream {
	r.t.Helper()
	s, err := r.client.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func context60(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// say sends messages and returns the answers, up to the end.
func (r *rig) say(ctx context.Context, messages ...string) (answers []string, err error) {
	s := r.begin(ctx)
	for _, m := range messages {
		if err := s.SendMsg(wrapperspb.Bytes([]byte(m))); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	for {
		var v wrapperspb.BytesValue
		if err := s.RecvMsg(&v); errors.Is(err, io.EOF) {
			return answers, nil
		} else if err != nil {
			return answers, err
		}
		answers = append(answers, string(v.Value))
	}
}

func (r *rig) end() error {
	r.t.Helper()
	select {
	case err := <-r.ends:
		return err
	case <-time.After(patience):
		r.t.Fatal("no call ended")
		return nil
	}
}

func TestCall(t *testing.T) {
	r := newRig(t)
	ctx := context60(t)
	for range 3 {
		got, err := r.say(metadata.AppendToOutgoingContext(ctx, "phase", "!"), "a", "b")
		if err != nil || len(got) != 2 || got[0] != "b!" || got[1] != "b!" {
			t.Fatalf("%q, %v", got, err)
		}
		if err := r.end(); err != nil {
			t.Error(err)
		}
	}
}

// Messages of every size around frames and windows arrive, and so do their answers.
func TestSizes(t *testing.T) {
	for name, options := range map[string][]grpc.DialOption{
		"usual windows": nil,
		"small windows": {grpc.WithStaticStreamWindowSize(65535), grpc.WithStaticConnWindowSize(65535)},
		"large windows": {grpc.WithStaticStreamWindowSize(1 << 30), grpc.WithStaticConnWindowSize(1 << 30)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options...)
			sizes := []int{0, 1, 16379, 16384, 65535, 70000, 300_000}
			if options == nil {
				sizes = append(sizes, 4<<20-100)
			}
			for _, n := range sizes {
				want := strings.Repeat("x", n)
				got, err := r.say(context60(t), "a", want)
				if err != nil || len(got) != 2 || got[0] != want || got[1] != want {
					t.Fatalf("%d: %d answers, %v", n, len(got), err)
				}
			}
		})
	}
}

func TestManyAtOnce(t *testing.T) {
	r := newRig(t)
	ctx := context60(t)
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			for k := range 20 {
				want := strings.Repeat(string(rune('a'+i%26)), 1+i*k*30)
				if got, err := r.say(ctx, "a", want); err != nil || len(got) != 2 || got[1] != want {
					t.Errorf("%d answers, %v", len(got), err)
					return
				}
			}
		})
	}
	all.Wait()
	for range 30 * 20 {
		if err := r.end(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	ctx := context60(t)
	for _, c := range []struct {
		say  []string
		code codes.Code
		text string
	}{
		{[]string{"refuse"}, codes.FailedPrecondition, "no: 100 % ü\n"},
		{[]string{"panic"}, codes.Internal, "panic: on the first message"},
		{[]string{"burst", "b"}, codes.Internal, "panic: on the answer"},
		{[]string{"a", strings.Repeat("x", 4<<20+1)}, codes.ResourceExhausted, "a message of 4194310 bytes; the limit is 4194304"},
	} {
		_, err := r.say(ctx, c.say...)
		if s := status.Convert(err); s.Code() != c.code || s.Message() != c.text {
			t.Errorf("%.20q: %v %q", c.say[0], s.Code(), s.Message())
		}
		if err := r.end(); status.Code(err) != c.code {
			t.Errorf("%.20q ended with %v", c.say[0], err)
		}
	}
	s, err := r.client.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/test.Echo/Other")
	if err == nil {
		err = s.RecvMsg(new(wrapperspb.BytesValue))
	}
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("another method: %v", err)
	}
	if got, err := r.say(ctx, "a", "still there"); err != nil || len(got) != 2 {
		t.Errorf("after all that: %q, %v", got, err)
	}
}

// A call that waits holds no other up.
func TestSlow(t *testing.T) {
	r := newRig(t)
	ctx := context60(t)
	slow := make(chan error, 1)
	go func() {
		got, err := r.say(ctx, "slow", "b")
		if err == nil && len(got) != 2 {
			err = errors.New("no answer")
		}
		slow <- err
	}()
	<-r.begun
	if got, err := r.say(ctx, "a", "quick"); err != nil || len(got) != 2 {
		t.Fatalf("%q, %v", got, err)
	}
	close(r.held)
	if err := <-slow; err != nil {
		t.Error(err)
	}
}

// Whoever gives a call up is not waited for, and the call hears of it.
func TestGivenUp(t *testing.T) {
	r := newRig(t)
	t.Run("while it is answered", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context60(t))
		done := make(chan struct{})
		go func() { defer close(done); _, _ = r.say(ctx, "slow", "b") }() // it is given up
		<-r.begun
		cancel()
		if err := r.end(); status.Code(err) != codes.Canceled && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-done
	})
	t.Run("before it is complete", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context60(t))
		s := r.begin(ctx)
		if err := s.SendMsg(wrapperspb.Bytes([]byte("a"))); err != nil {
			t.Fatal(err)
		}
		if got, err := r.say(context60(t), "a", "after it"); err != nil || len(got) != 2 {
			t.Fatalf("%q, %v", got, err)
		}
		if err := r.end(); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := r.end(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("by its end", func(t *testing.T) {
		s := r.begin(context60(t))
		if err := errors.Join(s.SendMsg(wrapperspb.Bytes([]byte("a"))), s.CloseSend()); err != nil {
			t.Fatal(err)
		}
		if err := r.end(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestShutdownWaits(t *testing.T) {
	r := newRig(t)
	answered := make(chan error, 1)
	go func() { _, err := r.say(context60(t), "slow", "b"); answered <- err }()
	<-r.begun
	down := make(chan struct{})
	go func() { defer close(down); r.server.Shutdown(context60(t)) }()
	close(r.held)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	<-down
	if _, err := net.Dial("unix", r.socket); err == nil {
		t.Error("it still listens")
	}
}

func TestShutdownGivesUp(t *testing.T) {
	r := newRig(t)
	answered := make(chan error, 1)
	go func() { _, err := r.say(context60(t), "slow", "b"); answered <- err }()
	<-r.begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.server.Shutdown(ctx)
	if err := <-answered; err == nil {
		t.Error("answered")
	}
}
