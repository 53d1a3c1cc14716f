package sinks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// kafkaSink produces one record an event: the CloudEvent in structured mode, its
// key the subject, so that a caller's events stay in order. The producer is
// idempotent and waits for all in-sync replicas.
type kafkaSink struct {
	*outages
	topic   string
	timeout time.Duration
	client  *kgo.Client
}

// deliveryTimeout is how long the client tries by itself; after that the sink logs
// that there is an outage, and tries on.
const deliveryTimeout = 15 * time.Second

func openKafka(cfg *catalog.KafkaSink, resolve Resolver, log *slog.Logger, timeout time.Duration) (*kafkaSink, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...), kgo.DefaultProduceTopic(cfg.Topic), kgo.ClientID("shunt"),
		kgo.RequiredAcks(kgo.AllISRAcks()), // idempotence is the default
		kgo.RecordDeliveryTimeout(timeout), kgo.ProduceRequestTimeout(min(timeout, 10*time.Second)),
		kgo.AllowAutoTopicCreation(),
	}
	if cfg.TLS != nil {
		t, err := tlsConfig(cfg.TLS)
		if err != nil {
			return nil, err
		}
		if t == nil {
			t = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		opts = append(opts, kgo.DialTLSConfig(t))
	}
	if cfg.SASL != nil {
		opts = append(opts, kgo.SASL(mechanism(cfg.SASL, resolve)))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	return &kafkaSink{outages: newOutages(log), topic: cfg.Topic, timeout: timeout, client: client}, nil
}

// mechanism asks for the password at every connection.
func mechanism(s *catalog.SASL, resolve Resolver) sasl.Mechanism {
	user := s.User
	scrammed := func(context.Context) (scram.Auth, error) {
		password, err := resolve(s.Password)
		return scram.Auth{User: user, Pass: password}, err
	}
	switch s.Mechanism {
	case catalog.SASLScramSHA256:
		return scram.Sha256(scrammed)
	case catalog.SASLScramSHA512:
		return scram.Sha512(scrammed)
	}
	return plain.Plain(func(context.Context) (plain.Auth, error) {
		password, err := resolve(s.Password)
		return plain.Auth{User: user, Pass: password}, err
	})
}

// Deliver implements billing.Sink.
func (s *kafkaSink) Deliver(ctx context.Context, m billing.Message) error { return one(ctx, s, m) }

// Close implements billing.Sink.
func (s *kafkaSink) Close(context.Context) error {
	s.end()
	s.client.Close()
	return nil
}

// DeliverAll implements billing.Batcher. Records travel in batches, and a broker that
// finds one too large refuses all of it: what was refused among others is tried alone.
func (s *kafkaSink) DeliverAll(ctx context.Context, ms []billing.Message) []error {
	return s.each(ctx, len(ms), func(left []int) []error {
		errs := s.produce(ctx, ms, left)
		for i := range left {
			if len(left) > 1 && errors.Is(errs[i], billing.ErrRefused) {
				errs[i] = s.produce(ctx, ms, left[i:i+1])[0]
			}
		}
		return errs
	})
}

// produce sends those of ms that left names. The client may wait for a broker for as
// long as that is away, whatever its timeouts say: what it has on the wire it must not
// send under another number. So produce itself notes an outage, and ends with ctx.
func (s *kafkaSink) produce(ctx context.Context, ms []billing.Message, left []int) []error {
	type result struct {
		at  int
		err error
	}
	results := make(chan result, len(left))
	defer s.overdue(s.timeout)()
	errs := make([]error, len(left))
	for i, n := range left {
		errs[i] = errOutage // until it is known
		s.client.Produce(ctx, s.record(&ms[n]), func(_ *kgo.Record, err error) { results <- result{i, err} })
	}
	for range left {
		select {
		case r := <-results:
			errs[r.at] = sortKafka(ctx, r.err)
		case <-ctx.Done():
			for i, err := range errs {
				errs[i] = sortKafka(ctx, err)
			}
			return errs
		}
	}
	return errs
}

func (s *kafkaSink) record(m *billing.Message) *kgo.Record {
	r := &kgo.Record{
		Topic: s.topic, Value: m.Body,
		Headers: []kgo.RecordHeader{
			{Key: "content-type", Value: []byte(typeOne)},
			{Key: "ce_id", Value: []byte(m.ID)},
			{Key: "ce_source", Value: []byte(attribute(m, "source"))},
			{Key: "ce_type", Value: []byte(attribute(m, "type"))},
		},
	}
	if subject := attribute(m, "subject"); subject != "" {
		r.Key = []byte(subject)
	}
	return r
}

// sortKafka says with which of the package's errors one of Kafka's goes: a record
// that no broker would take is refused; everything else is an outage, a topic that
// is missing and a password that is wrong included, for they can be mended without
// losing an event.
func sortKafka(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kgo.ErrClientClosed):
		return billing.ErrClosed
	case ctx.Err() != nil:
		return fmt.Errorf("produce: %w", ctx.Err())
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.InvalidRecord), errors.Is(err, kerr.RecordListTooLarge),
		errors.Is(err, kerr.CorruptMessage), errors.Is(err, kerr.InvalidTimestamp):
		return fmt.Errorf("%w: %w", billing.ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", errOutage, err)
}
