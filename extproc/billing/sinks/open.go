package sinks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"github.com/tidwall/gjson"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// Resolver returns the secret itself.
type Resolver func(catalog.Secret) (string, error)

// Open starts the sink that the configuration describes. A receiver that cannot be
// reached is no error: deliveries wait for it. Close must be called.
func Open(s *catalog.Sink, resolve Resolver, log *slog.Logger) (billing.Batcher, error) {
	var out billing.Batcher
	var err error
	log = log.With("sink", s.Place())
	switch {
	case s.NATS != nil:
		out, err = openNATS(s.NATS, resolve, log)
	case s.Kafka != nil:
		out, err = openKafka(s.Kafka, resolve, log, deliveryTimeout)
	case s.HTTP != nil:
		out, err = openHTTP(s.HTTP, resolve, log)
	default:
		out, err = openFile(s, log)
	}
	if err != nil {
		return nil, fmt.Errorf("billing: sink %s: %w", s.Place(), err)
	}
	return out, nil
}

// one is Deliver by DeliverAll.
func one(ctx context.Context, s billing.Batcher, m billing.Message) error {
	if errs := s.DeliverAll(ctx, []billing.Message{m}); errs != nil {
		return errs[0]
	}
	return nil
}

// all is the same error for n messages.
func all(n int, err error) []error {
	if err == nil {
		return nil
	}
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// attribute reads a CloudEvents attribute off an event; "" if it has none.
func attribute(m *billing.Message, name string) string {
	return gjson.GetBytes(m.Body, name).String()
}

// dedupeID is what names an event at receivers that drop what they know.
func dedupeID(m *billing.Message) string { return attribute(m, "source") + "/" + m.ID }

// tlsConfig reads the files; nil where nothing is set, so that each client has its
// own defaults.
func tlsConfig(t *catalog.ClientTLS) (*tls.Config, error) {
	if *t == (catalog.ClientTLS{}) {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca: no certificate in %s", t.CA)
		}
	}
	if t.Cert != "" {
		cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("tls.cert: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}
