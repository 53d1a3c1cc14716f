package outbox

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/extproc/billing"
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

// nothing is a sink that takes everything.
type nothing struct{ *memory }

func (nothing) Deliver(context.Context, billing.Message) error { return nil }
