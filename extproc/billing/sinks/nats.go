package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// natsSink publishes one message an event: the CloudEvent in structured mode. With
// ack: stream a JetStream stream has to take it, and drops an id that it knows;
// with ack: server the server has to have it, whoever listens.
type natsSink struct {
	*outages
	subject string
	ack     catalog.NATSAck
	timeout time.Duration // of one exchange with the server
	conn    *nats.Conn
	js      jetstream.JetStream
}

const natsTimeout = 5 * time.Second

func openNATS(cfg *catalog.NATSSink, resolve Resolver, log *slog.Logger) (*natsSink, error) {
	opts := []nats.Option{
		nats.Name("shunt billing"), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1), // what is not on the wire is tried again here
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("billing: NATS", "error", err)
		}),
	}
	if cfg.Credentials != "" {
		opts = append(opts, nats.UserCredentials(cfg.Credentials))
	}
	if !cfg.Token.IsZero() {
		opts = append(opts, nats.TokenHandler(func() string {
			token, err := resolve(cfg.Token)
			if err != nil {
				log.Error("billing: NATS token", "error", err)
			}
			return token
		}))
	}
	t, err := tlsConfig(&cfg.TLS)
	if err != nil {
		return nil, err
	}
	if t != nil {
		opts = append(opts, nats.Secure(t))
	}
	conn, err := nats.Connect(strings.Join(cfg.Servers, ","), opts...)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &natsSink{outages: newOutages(log), subject: cfg.Subject, ack: cfg.Ack, timeout: natsTimeout, conn: conn, js: js}, nil
}

// Deliver implements billing.Sink.
func (s *natsSink) Deliver(ctx context.Context, m billing.Message) error { return one(ctx, s, m) }

// Close implements billing.Sink.
func (s *natsSink) Close(context.Context) error {
	s.end()
	s.conn.Close()
	return nil
}

// DeliverAll implements billing.Batcher.
func (s *natsSink) DeliverAll(ctx context.Context, ms []billing.Message) []error {
	return s.each(ctx, len(ms), func(left []int) []error {
		bounded, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		errs := s.publish(bounded, ms, left)
		for i, err := range errs {
			errs[i] = s.sort(ctx, err)
		}
		return errs
	})
}

// publish sends those of ms that left names, and waits for the acknowledgements.
func (s *natsSink) publish(ctx context.Context, ms []billing.Message, left []int) []error {
	errs := make([]error, len(left))
	if s.ack == catalog.AckServer {
		for i, n := range left {
			errs[i] = s.conn.PublishMsg(s.message(&ms[n]))
		}
		if err := s.conn.FlushWithContext(ctx); err != nil {
			return all(len(left), err)
		}
		return errs
	}
	acks := make([]jetstream.PubAckFuture, len(left))
	for i, n := range left {
		acks[i], errs[i] = s.js.PublishMsgAsync(s.message(&ms[n]), jetstream.WithMsgID(dedupeID(&ms[n])), jetstream.WithRetryAttempts(0))
	}
	for i, ack := range acks {
		if ack == nil {
			continue
		}
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			errs[i] = err
		case <-ctx.Done():
			errs[i] = ctx.Err()
		}
	}
	return errs
}

func (s *natsSink) message(m *billing.Message) *nats.Msg {
	out := nats.NewMsg(s.subject)
	out.Data = m.Body
	out.Header.Set("content-type", typeOne)
	return out
}

// sort says with which of the package's errors one of NATS's goes. A subject
// without a stream is an outage: whoever makes the stream loses no event.
func (s *natsSink) sort(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("publish: %w", ctx.Err())
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", billing.ErrRefused, err)
	case errors.Is(err, nats.ErrConnectionClosed):
		return billing.ErrClosed
	}
	return fmt.Errorf("%w: %w", errOutage, err)
}
