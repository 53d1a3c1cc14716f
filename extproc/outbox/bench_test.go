package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/billing/sinks"
)

// BenchmarkEvent is an event's way from the log through an embedded NATS to one sink
// that costs nothing:
//
//	go test ./extproc/outbox -run - -bench Event
func BenchmarkEvent(b *testing.B) {
	e := newEngine(b).start()
	book := newBook(b, b.TempDir())
	begin(b, e, book, "a", Sink{Name: "s", Scope: Own, Sink: nothing{&memory{}}})
	event := []byte(strings.Repeat("e", 1500))
	b.ResetTimer()
	for i := range b.N {
		if _, err := book.Finish(fmt.Sprint("0b9c1f2e-6f0a-4a53-9d1b-", i), billing.Completed, event); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "everything is delivered", func() bool { return empty(book) })
}

// BenchmarkBacklog drains what gathered while a sink was down into a file, straight from
// the log and by way of an embedded NATS:
//
//	go test ./extproc/outbox -run - -bench Backlog -benchtime 100000x
func BenchmarkBacklog(b *testing.B) {
	for name, alone := range map[string]bool{"direct": true, "NATS": false} {
		b.Run(name, func(b *testing.B) {
			e := newEngine(b).start()
			book := newBook(b, b.TempDir())
			file, err := sinks.Open(&catalog.Sink{File: filepath.Join(b.TempDir(), "events.jsonl")}, nil, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = file.Close(context.Background()) })
			event := []byte(`{"id":"` + strings.Repeat("e", 1500) + `"}`)
			for i := range b.N {
				if _, err := book.Finish(fmt.Sprint("0b9c1f2e-6f0a-4a53-9d1b-", i), billing.Completed, event); err != nil {
					b.Fatal(err)
				}
			}
			b.ResetTimer()
			o := Start(Options{
				JS: e.js, Prefix: "test", Instance: "a", Tries: 3, Book: book, Alone: alone, Log: slog.New(slog.DiscardHandler),
				Sinks: []Sink{{Name: "s", Scope: Own, Sink: file}},
			})
			b.Cleanup(func() { halt(b, o) })
			eventually(b, "everything is delivered", func() bool { return empty(book) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// nothing is a sink that takes everything.
type nothing struct{ *memory }

func (nothing) Deliver(context.Context, billing.Message) error { return nil }
