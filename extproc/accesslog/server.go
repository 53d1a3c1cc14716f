package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// Config is what a Server needs. Request and Log must be set.
type Config struct {
	// Request takes over a request that has ended, with the quote that it carried.
	// While it blocks, nothing more is read from that Envoy worker. Envoy says
	// everything once, so ctx outlives the stream, but only by DefaultLinger: a
	// handler must not keep a server from stopping. An error ends the stream:
	// whoever returns it has logged what was lost. It is called from several
	// goroutines.
	Request func(ctx context.Context, q *billing.Quote, r *billing.Record) error
	// Attempt sees every attempt at a provider as soon as it is reported, long
	// before Request where the next attempt streams for minutes. requestID joins the
	// attempts of a request. It must not block, and is called from several
	// goroutines. Nil: nobody wants to know.
	Attempt func(requestID string, a billing.Attempt)
	// Heard is told how far a request is that is still under way: what its record
	// would be if it ended now, without usage. It must not block, and is called from
	// several goroutines. Nil: nobody wants to know.
	Heard func(requestID string, so *billing.Record)
	// Gone is told of a request that Envoy ended without having heard that it is
	// admitted. It must not block. Nil: nobody wants to know.
	Gone func(requestID string)
	// Answered is told which provider answered a conversation whose provider is to be
	// remembered (CACHE-4). It must not block. Nil: nobody wants to know.
	Answered func(key, provider string, at time.Time)

	Log *slog.Logger
	Now func() time.Time // nil: time.Now
}

// Server implements Envoy's AccessLogService.
type Server struct {
	accesslogv3.UnimplementedAccessLogServiceServer

	cfg     Config
	linger  time.Duration
	join    *join
	settled *billing.Window // requests that have ended, lately
	stalls  *billing.Window // requests whose answer fell silent behind the internal listener
	noID    sync.Once
}

// settledWindow is how many ended requests are remembered, so that an attempt
// that is reported after its request is not kept for it.
const settledWindow = 8192

// New returns a Server.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Server{cfg: cfg, linger: DefaultLinger, join: newJoin(joinLimit, joinTTL), settled: billing.NewWindow(settledWindow),
		stalls: billing.NewWindow(stallWindow)}
}

// DefaultLinger is how long what a stream brought may still be settled when the
// stream is gone, because Envoy went away or the server stops.
const DefaultLinger = 5 * time.Second

// outlive returns a context that is done some time after parent. stop must be
// called.
func outlive(parent context.Context, linger time.Duration) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	unwatch := context.AfterFunc(parent, func() {
		t := time.AfterFunc(linger, cancel)
		context.AfterFunc(ctx, func() { t.Stop() })
	})
	return ctx, func() { unwatch(); cancel() }
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { accesslogv3.RegisterAccessLogServiceServer(r, s) }

// errNonsense is what Envoy would never send (SEC-6).
var errNonsense = errors.New("makes no sense")

// StreamAccessLogs serves one stream: one worker thread of one Envoy.
func (s *Server) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	log := s.cfg.Log
	err := s.serve(stream, &log)
	switch {
	case err == nil, status.Code(err) == codes.Canceled:
		return nil // Envoy is done
	case errors.Is(err, errNonsense):
		err = status.Error(codes.InvalidArgument, err.Error())
	case status.Code(err) == codes.Unknown:
		err = status.Error(codes.Unavailable, err.Error())
	}
	log.Error("access log stream closed", "error", err)
	return err
}

func (s *Server) serve(stream accesslogv3.AccessLogService_StreamAccessLogsServer, log **slog.Logger) (err error) {
	defer func() {
		// SEC-6: whatever a message does to us, only its own stream ends.
		if r := recover(); r != nil {
			(*log).Error("access log: panic", "panic", r, "stack", string(debug.Stack()))
			err = status.Errorf(codes.Internal, "panic: %v", r)
		}
	}()
	ctx, stop := outlive(stream.Context(), s.linger)
	defer stop()
	for first := true; ; first = false {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		if first {
			*log = (*log).With("node", m.GetIdentifier().GetNode().GetId())
			if name := m.GetIdentifier().GetLogName(); name != names.LogName {
				return fmt.Errorf("first message %w: log name %q, want %q", errNonsense, name, names.LogName)
			}
		}
		if err := s.message(ctx, m, *log); err != nil {
			return err
		}
	}
}

// message takes in one batch of entries. What is wrong with one entry keeps none of
// the others from being settled. Attempts come first, because Envoy reports the last
// one after its request when the client went away.
func (s *Server) message(ctx context.Context, m *accesslogv3.StreamAccessLogsMessage, log *slog.Logger) error {
	if m.GetHttpLogs() == nil {
		return fmt.Errorf("message %w: log entries of type %T, want HTTP", errNonsense, m.GetLogEntries())
	}
	entries := m.GetHttpLogs().GetLogEntry()
	var errs []error
	for _, e := range entries {
		if stalled(e) {
			s.stalls.Add(e.GetRequest().GetRequestId())
		}
	}
	for i, e := range entries {
		if err := check(e); err != nil {
			errs = append(errs, fmt.Errorf("entry %d of %d: %w", i+1, len(entries), err))
		} else if e.GetCommonProperties().GetAccessLogType() == logv3.AccessLogType_UpstreamEnd {
			s.attempt(e, log)
		}
	}
	for _, e := range entries {
		switch e.GetCommonProperties().GetAccessLogType() {
		case logv3.AccessLogType_DownstreamPeriodic:
			s.heard(e)
		case logv3.AccessLogType_DownstreamEnd:
			if stalled(e) {
				continue
			}
			if err := s.request(ctx, e, log); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// check refuses what no Envoy sends. Entries of other moments than a request's or
// an attempt's end are let through and then passed over.
func check(e *logv3.HTTPAccessLogEntry) error {
	switch {
	case e.GetCommonProperties() == nil:
		return fmt.Errorf("%w: no common_properties", errNonsense)
	case e.GetCommonProperties().GetAccessLogType() == logv3.AccessLogType_NotSet:
		return fmt.Errorf("%w: no access_log_type", errNonsense)
	}
	return nil
}

func (s *Server) attempt(e *logv3.HTTPAccessLogEntry, log *slog.Logger) {
	a, ours := attemptOf(e)
	if !ours {
		return
	}
	id := e.GetRequest().GetRequestId()
	a.Outcome = s.ended(id, a.Outcome)
	if s.cfg.Attempt != nil {
		s.cfg.Attempt(id, a)
	}
	if id == "" {
		s.noID.Do(func() {
			log.Warn("access log: an attempt without "+names.HeaderRequestID+" cannot be joined to its request", "provider", a.Provider)
		})
		return
	}
	if !s.settled.Has(id) && !s.join.add(id, a, s.cfg.Now()) {
		log.Warn("access log: too many attempts; one is left out of its request's event", "request_id", id)
	}
}

// heard takes a heartbeat. What became of the last attempt is not known yet.
func (s *Server) heard(e *logv3.HTTPAccessLogEntry) {
	id := e.GetRequest().GetRequestId()
	if _, ok := quoteOf(e); !ok || id == "" || s.cfg.Heard == nil {
		return
	}
	r, _ := recordOf(e) // usage comes with the end
	r.Usage, r.Last.Outcome = billing.Usage{}, ""
	s.cfg.Heard(id, r)
}

func (s *Server) request(ctx context.Context, e *logv3.HTTPAccessLogEntry, log *slog.Logger) error {
	id := e.GetRequest().GetRequestId()
	text, ok := quoteOf(e)
	if !ok {
		s.join.take(id)
		if s.cfg.Gone != nil {
			s.cfg.Gone(id)
		}
		return nil // BILL-1: no quote, not admitted, no event
	}
	q, err := billing.ParseQuote(text)
	if err != nil {
		s.join.take(id)
		log.Error("access log: request is not billed: its quote cannot be read", "request_id", id, "error", err)
		return nil
	}
	if id == "" {
		id = q.ID
	}
	r, err := recordOf(e)
	if err != nil {
		log.Warn("access log: usage cannot be read", "request_id", id, "error", err)
	}
	r.Last.Outcome = s.ended(id, r.Last.Outcome)
	r.Attempts = s.join.take(id)
	s.settled.Add(id)
	if key := shunts(e, names.KeySticky).GetStringValue(); key != "" && s.cfg.Answered != nil && r.Answered() {
		s.cfg.Answered(key, r.Provider, s.cfg.Now())
	}
	return s.cfg.Request(ctx, q, r)
}
