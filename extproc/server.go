package extproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/shunt-gateway/shunt/envoy/names"
)

// Server implements Envoy's ExternalProcessor service.
type Server struct {
	extprocv3.UnimplementedExternalProcessorServer

	Decider *Decider
	Log     *slog.Logger
	// MaxInFlight bounds the decisions in progress; one more is answered 503
	// overloaded at once (SEC-4). 0 means DefaultMaxInFlight.
	MaxInFlight int64
	// Observe is told of every answer when it has been sent, on the goroutine of the
	// stream, whose context it gets. It must not block. Nil: nobody wants to know.
	Observe func(context.Context, *Outcome)

	inFlight atomic.Int64
	shed     atomic.Uint64
	broken   atomic.Uint64
}

// DefaultMaxInFlight is what two cores work off well within Envoy's message
// timeout; see docs/architecture.md.
const DefaultMaxInFlight = 4096

// Shed is how many requests were refused because too many were in flight.
func (s *Server) Shed() uint64 { return s.shed.Load() }

// InFlight is how many questions of Envoy's are being answered.
func (s *Server) InFlight() int64 { return s.inFlight.Load() }

// Broken is how many streams were closed because Envoy sent what makes no sense, or
// could not be answered.
func (s *Server) Broken() uint64 { return s.broken.Load() }

// Process serves one request of Envoy's: the first decision, or a retry's rewrite.
// It returns as soon as its answer is sent, and Envoy goes on without it.
func (s *Server) Process(stream grpc.BidiStreamingServer[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse]) error {
	defer s.inFlight.Add(-1)
	over := s.inFlight.Add(1) > s.maxInFlight()
	began := time.Now()
	ses := s.begin(stream.Context(), over)
	err := s.serve(stream, ses)
	if err == nil && s.Observe != nil {
		s.observe(stream.Context(), ses, began)
	}
	switch {
	case err == nil, errors.Is(err, io.EOF), status.Code(err) == codes.Canceled:
		return nil // answered, or the client went away first
	default:
		s.broken.Add(1)
		s.Log.Error("ext_proc stream closed", "error", err) // SEC-6
		return err
	}
}

// observe tells of an answer that was sent. What goes wrong with that is no affair of
// the request's, nor of the others (SEC-6).
func (s *Server) observe(ctx context.Context, ses session, began time.Time) {
	defer func() {
		if r := recover(); r != nil {
			s.Log.Error("ext_proc: an answer was not counted", "panic", r)
		}
	}()
	o := ses.outcome()
	o.Began, o.Ended = began, time.Now()
	s.Observe(ctx, o)
}

func (s *Server) maxInFlight() int64 {
	if s.MaxInFlight > 0 {
		return s.MaxInFlight
	}
	return DefaultMaxInFlight
}

// session turns what Envoy sends into what it is told: push takes one message,
// and answers are ready when done is true.
type session interface {
	push(*extprocv3.ProcessingRequest) (done bool, err error)
	answers() []*extprocv3.ProcessingResponse
	outcome() *Outcome
}

func (s *Server) begin(ctx context.Context, overloaded bool) session {
	if v := metadata.ValueFromIncomingContext(ctx, names.PhaseKey); len(v) == 1 && v[0] == names.PhaseRetry {
		return &retrySession{decider: s.Decider}
	}
	if overloaded {
		s.shed.Add(1)
		return shedSession{}
	}
	return &requestSession{ctx: ctx, decider: s.Decider}
}

func (s *Server) serve(stream grpc.BidiStreamingServer[extprocv3.ProcessingRequest, extprocv3.ProcessingResponse], ses session) (err error) {
	defer func() {
		// SEC-6: whatever a message does to us, only its own stream ends.
		if r := recover(); r != nil {
			err = status.Errorf(codes.Internal, "ext_proc: panic: %v", r)
		}
	}()
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		done, err := ses.push(m)
		if gone := stream.Context().Err(); err != nil && gone != nil {
			return status.FromContextError(gone).Err()
		}
		if err != nil {
			return status.Error(codes.InvalidArgument, fmt.Sprintf("ext_proc: %v", err))
		}
		if !done {
			continue
		}
		for _, a := range ses.answers() {
			if err := stream.Send(a); err != nil {
				return err
			}
		}
		return nil
	}
}
