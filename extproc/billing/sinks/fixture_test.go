package sinks

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/test/leak"
	"github.com/shunt-gateway/shunt/test/loglines"
)

func TestMain(m *testing.M) { os.Exit(leak.Check(m.Run())) }

const patience = 60 * time.Second

// quick are pauses that a test does not notice.
var quick = pauses{first: time.Millisecond, longest: 5 * time.Millisecond}

func message(i int) billing.Message {
	return billing.Message{ID: fmt.Sprintf("id-%d", i), Body: fmt.Appendf(nil,
		`{"specversion":"1.0","type":"shunt.usage.v1","id":"id-%d","source":"shunt/a","subject":"caller-%d","data":{"subject":"not this","amount":"0.1"}}`, i, i%3)}
}

// nobody is an event without a subject.
func nobody(i int) billing.Message {
	m := message(i)
	m.Body = bytes.Replace(m.Body, fmt.Appendf(nil, `"subject":"caller-%d",`, i%3), nil, 1)
	return m
}

func messages(from, to int) (list []billing.Message) {
	for i := from; i < to; i++ {
		list = append(list, message(i))
	}
	return list
}

// secrets resolves what a test's configuration names.
func secrets(values map[string]string) Resolver {
	return func(s catalog.Secret) (string, error) {
		return s.Resolve(func(name string) (string, bool) { v, ok := values[name]; return v, ok }, os.ReadFile)
	}
}

// configured is the one sink of a configuration.
func configured(t *testing.T, text string) *catalog.Sink {
	t.Helper()
	c, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Dir: t.TempDir(), Data: []byte(
		"providers: {a: {endpoint: \"https://a.example\"}}\nmodels: {m: {offers: [{provider: a, model: m}]}}\nbilling:\n  sinks:\n    - " + text + "\n")})
	if err != nil {
		t.Fatal(err)
	}
	return &c.Billing.Sinks[0]
}

func open(t *testing.T, s *catalog.Sink, values map[string]string) (billing.Batcher, *loglines.Buffer) {
	t.Helper()
	return openWithin(t, s, values, patience)
}

// openWithin is open with another time until Kafka's client gives a record up. One
// that it gives up on the way is produced again, and may be there twice.
func openWithin(t *testing.T, s *catalog.Sink, values map[string]string, delivery time.Duration) (billing.Batcher, *loglines.Buffer) {
	t.Helper()
	log, lines := loglines.New()
	var out billing.Batcher
	var err error
	if s.Kafka != nil {
		out, err = openKafka(s.Kafka, secrets(values), log, delivery)
	} else {
		out, err = Open(s, secrets(values), log)
	}
	if err != nil {
		t.Fatal(err)
	}
	switch s := out.(type) {
	case *httpSink:
		s.pauses = quick
	case *natsSink:
		s.pauses = quick
	case *kafkaSink:
		s.pauses = quick
	}
	t.Cleanup(func() { closeSink(t, out) })
	return out, lines
}

func closeSink(t *testing.T, s billing.Sink) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// bounded is a context that ends a test which hangs.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func deliver(t *testing.T, s billing.Batcher, from, to int) {
	t.Helper()
	for i, err := range s.DeliverAll(bounded(t), messages(from, to)) {
		if err != nil {
			t.Fatalf("message %d: %v", from+i, err)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

func linesOf(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// wantMessages checks that exactly these stand there, each on a line of its own.
func wantMessages(t *testing.T, got []string, from, to int) {
	t.Helper()
	if len(got) != to-from {
		t.Fatalf("%d lines, want %d", len(got), to-from)
	}
	for i, line := range got {
		if want := string(message(from + i).Body); line != want {
			t.Fatalf("line %d is %q, want %q", i+1, line, want)
		}
	}
}

func filesIn(t *testing.T, dir string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		list[i] = filepath.Base(list[i])
	}
	return strings.Join(list, " ")
}
