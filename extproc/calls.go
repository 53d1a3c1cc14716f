package extproc

import (
	"context"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/shunt-gateway/shunt/extproc/stream"
)

// Calls serves what Process serves, in less time: see package stream. Messages of
// Envoy's have at most maxMessage bytes.
func (s *Server) Calls(maxMessage int) *stream.Server {
	return &stream.Server{
		Method: extprocv3.ExternalProcessor_Process_FullMethodName, MaxMessage: maxMessage, Log: s.Log,
		Begin: func(ctx context.Context) stream.Call {
			return &call{server: s, ctx: ctx, began: time.Now(), session: s.begin(ctx)}
		},
	}
}

// call is a session that stream drives.
type call struct {
	server  *Server
	ctx     context.Context
	began   time.Time
	session session
}

// Message implements stream.Call.
func (c *call) Message(m []byte) (complete bool, err error) {
	r := new(extprocv3.ProcessingRequest)
	if err := proto.Unmarshal(m, r); err != nil {
		return false, status.Errorf(codes.InvalidArgument, "ext_proc: %v", err)
	}
	if complete, err = c.session.push(r); err != nil {
		err = refusal(c.ctx, err)
	}
	return complete, err
}

// Slow implements stream.Call.
func (c *call) Slow() bool { return c.session.slow() }

// Answer implements stream.Call.
func (c *call) Answer(dst []byte) (_ []byte, err error) {
	if err := c.session.conclude(); err != nil {
		return dst, refusal(c.ctx, err)
	}
	for _, a := range c.session.answers() {
		dst, err = stream.AppendMessage(dst, func(b []byte) ([]byte, error) {
			return proto.MarshalOptions{}.MarshalAppend(b, a)
		})
		if err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// End implements stream.Call.
func (c *call) End(err error) { _ = c.server.ended(c.ctx, c.session, c.began, err) }

// mayAsk reports whether deciding may wait for the store of preferences.
func (d *Decider) mayAsk(h *extprocv3.HttpHeaders) bool {
	world := d.Live.Load()
	if d.Prefs == nil || world == nil {
		return false
	}
	list := h.GetHeaders().GetHeaders()
	caller := world.Identity.Read(func(name string) []byte { return only(list, name) })
	return caller.Authenticated()
}
