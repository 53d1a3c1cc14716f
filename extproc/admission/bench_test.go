package admission

import (
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// What an admission costs a request, with the disk being flushed every 20 ms:
//
//	go test ./extproc/admission -run - -bench Admit -cpu 1,2,8
func BenchmarkAdmit(b *testing.B) {
	for _, size := range []int{600, 1500, 5000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			book := begin(b, Options{Log: slog.New(slog.DiscardHandler), MaxBytes: 1 << 50})
			quote := []byte(strings.Repeat("q", size))
			var n atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := book.Admit("0b9c1f2e-6f0a-4a53-9d1b-"+strconv.FormatInt(n.Add(1), 10), quote); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// The whole way of a request through the log, outside of NATS and sinks.
func BenchmarkRequest(b *testing.B) {
	book := begin(b, Options{Log: slog.New(slog.DiscardHandler)})
	quote, event := []byte(strings.Repeat("q", 1000)), []byte(strings.Repeat("e", 1500))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := "0b9c1f2e-6f0a-4a53-9d1b-" + strconv.Itoa(i)
		if err := book.Admit(id, quote); err != nil {
			b.Fatal(err)
		}
		if _, err := book.Finish(id, billing.Completed, event); err != nil {
			b.Fatal(err)
		}
		if i%256 == 255 {
			deliver(b, book)
		}
	}
}
