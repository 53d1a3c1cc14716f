package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/billing/sinks"
	"github.com/shunt-gateway/shunt/test/certs"
	"github.com/shunt-gateway/shunt/test/harness"
	"github.com/shunt-gateway/shunt/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Check(m.Run())) }

func TestRealBroker(t *testing.T) {
	jars := os.Getenv("SHUNT_TEST_KAFKA")
	if jars == "" {
		t.Log("SHUNT_TEST_KAFKA names no broker's jars: make test-kafka fetches them")
		return
	}
	b := newBroker(t, jars)
	t.Run("in order, once, by key", func(t *testing.T) { inOrder(t, b) })
	t.Run("too large", func(t *testing.T) { tooLarge(t, b) })
	t.Run("TLS and SASL", func(t *testing.T) { secured(t, b) })
	t.Run("killed and back", func(t *testing.T) { killedAndBack(t, b) })
}

// open opens the sink that a configuration describes.
func open(t *testing.T, text string, secret string) billing.Batcher {
	t.Helper()
	c, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Dir: t.TempDir(), Data: []byte(
		"providers: {a: {endpoint: \"https://a.example\"}}\nmodels: {m: {offers: [{provider: a, model: m}]}}\nbilling: {sinks: [{kafka: {" + text + "}}]}\n")})
	if err != nil {
		t.Fatal(err)
	}
	resolve := func(s catalog.Secret) (string, error) {
		return s.Resolve(func(string) (string, bool) { return secret, true }, os.ReadFile)
	}
	s, err := sinks.Open(&c.Billing.Sinks[0], resolve, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func deliver(t *testing.T, s billing.Batcher, from, to int) {
	t.Helper()
	for i, err := range s.DeliverAll(t.Context(), messages(from, to)) {
		if err != nil {
			t.Fatalf("event %d: %v", from+i, err)
		}
	}
}

func messages(from, to int) (list []billing.Message) {
	for i := from; i < to; i++ {
		id, body := event(i)
		list = append(list, billing.Message{ID: id, Body: body})
	}
	return list
}

// wantInOrder checks that a topic has events 0 to n, each once, those of one caller
// in one partition and in order.
func wantInOrder(t *testing.T, list []*kgo.Record) {
	t.Helper()
	seen := map[string]bool{}
	last := map[string]*kgo.Record{}
	for _, r := range list {
		id := header(r, "ce_id")
		if seen[id] {
			t.Errorf("%s is there twice", id)
		}
		seen[id] = true
		key := string(r.Key)
		if before := last[key]; before != nil && (before.Partition != r.Partition || header(before, "ce_id") >= id) {
			t.Errorf("%s: %s in partition %d comes after %s in %d", key, id, r.Partition, header(before, "ce_id"), before.Partition)
		}
		last[key] = r
		if !strings.Contains(string(r.Value), `"id":"`+id+`"`) || header(r, "content-type") != "application/cloudevents+json" ||
			header(r, "ce_source") != "shunt/a" || header(r, "ce_type") != "shunt.usage.v1" {
			t.Errorf("record %s: %v %s", r.Key, r.Headers, r.Value)
		}
	}
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

func inOrder(t *testing.T, b *broker) {
	s := open(t, `brokers: ["`+b.plain+`"], topic: ordered`, "")
	for i := range 20 {
		deliver(t, s, i*250, (i+1)*250)
	}
	wantInOrder(t, b.records(t, "ordered", 5000))
}

// The broker's limit, which the client does not know, is about one event.
func tooLarge(t *testing.T, b *broker) {
	s := open(t, `brokers: ["`+b.plain+`"], topic: large`, "")
	list := messages(0, 3)
	var noise strings.Builder // that does not compress
	for i := range 60_000 {
		fmt.Fprintf(&noise, "%x", uint64(i)*0x9e3779b97f4a7c15)
	}
	list[1].Body = append(list[1].Body[:len(list[1].Body)-1], `,"noise":"`+noise.String()+`"}`...)
	errs := s.DeliverAll(t.Context(), list)
	if len(errs) != 3 || errs[0] != nil || !errors.Is(errs[1], billing.ErrRefused) || errs[2] != nil {
		t.Fatalf("%v", errs)
	}
	b.records(t, "large", 2)
}

func secured(t *testing.T, b *broker) {
	client := b.ca.Issue(t, "client")
	other := certs.New(t)
	stranger := other.Issue(t, "client")
	tls := `brokers: ["` + b.tls + `"], topic: secured, tls: {ca: ` + b.ca.File + `}`
	mutual := `brokers: ["` + b.mutual + `"], topic: secured, tls: {ca: ` + b.ca.File
	sasl := func(mechanism string) string {
		return `brokers: ["` + b.sasl + `"], topic: secured, tls: {ca: ` + b.ca.File + `}, sasl: {mechanism: ` + mechanism + `, user: ` + user + `, password: "${P}"}`
	}
	for i, text := range []string{tls, mutual + `, cert: ` + client.Cert + `, key: ` + client.Key + `}`, sasl("plain"), sasl("scram-sha-512")} {
		deliver(t, open(t, text, password), 10*i, 10*(i+1))
	}
	b.records(t, "secured", 40)
	for name, c := range map[string]struct{ text, password string }{
		"another authority":             {`brokers: ["` + b.tls + `"], topic: refused, tls: {ca: ` + other.File + `}`, ""},
		"no TLS":                        {`brokers: ["` + b.tls + `"], topic: refused`, ""},
		"no client certificate":         {mutual + `}`, ""},
		"a stranger's certificate":      {mutual + `, cert: ` + stranger.Cert + `, key: ` + stranger.Key + `}`, ""},
		"a wrong password, PLAIN":       {sasl("plain"), "hunter2"},
		"a wrong password, SCRAM":       {sasl("scram-sha-512"), "hunter2"},
		"a mechanism that is not there": {sasl("scram-sha-256"), password},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := away(t, open(t, c.text, c.password))
			if err == nil || errors.Is(err, billing.ErrRefused) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v", err)
			}
		})
	}
}

// away delivers an event until the sink tells of an outage, and returns what came of
// it.
func away(t *testing.T, s billing.Batcher) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Deliver(ctx, messages(0, 1)[0]) }()
	harness.Eventually(t, "the outage shows", func() error { return inOutage(s) })
	cancel()
	return <-done
}

func inOutage(s billing.Sink) error {
	if since, _ := s.(billing.Patient).Outage(); since.IsZero() {
		return errors.New("no outage")
	}
	return nil
}

// The broker is killed under load, stays away until the sink says so, and comes back:
// every event is there, once, in order.
func killedAndBack(t *testing.T, b *broker) {
	const batches, each = 60, 100
	s := open(t, `brokers: ["`+b.plain+`"], topic: killed`, "")
	delivered := make(chan int, batches)
	go func() {
		defer close(delivered)
		for i := range batches {
			if errs := s.DeliverAll(t.Context(), messages(i*each, (i+1)*each)); errs != nil {
				t.Errorf("batch %d: %v", i, errors.Join(errs...))
				return
			}
			delivered <- i
		}
	}()
	n := 0
	for i := range delivered {
		n++
		if i == 10 || i == 30 {
			b.kill(t)
			if i == 30 {
				harness.Eventually(t, "the outage shows", func() error { return inOutage(s) })
			}
			b.start(t)
		}
	}
	if n != batches {
		t.Fatalf("%d of %d batches", n, batches)
	}
	if inOutage(s) == nil {
		t.Error("the outage still shows")
	}
	wantInOrder(t, b.records(t, "killed", batches*each))
}
