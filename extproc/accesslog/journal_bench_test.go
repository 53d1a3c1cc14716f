package accesslog

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// settledAll are requests that have their event.
type settledAll struct{ known map[string]bool }

func (s settledAll) Open(id string) bool            { return !s.known[id] }
func (settledAll) Quote(string) (q string, ok bool) { return "", false }
func (settledAll) Void(string)                      {}
func (settledAll) Written() bool                    { return true }

// A line of a request that has its event, which nearly all are:
//
//	go test ./extproc/accesslog -run - -bench JournalLine
func BenchmarkJournalLine(b *testing.B) {
	const lines = 1000
	path := filepath.Join(b.TempDir(), "ends.jsonl")
	if err := os.WriteFile(path, []byte(strings.Repeat(endLine+"\n", lines)), 0o600); err != nil {
		b.Fatal(err)
	}
	j := newJournal(JournalConfig{Path: path, Requests: settledAll{map[string]bool{lineOf: true}}, Log: discard(),
		Settle: func(context.Context, *billing.Quote, *billing.Record) error { return nil }})
	defer j.Close()
	b.ReportAllocs()
	for n := 0; n < b.N; n += lines {
		if j.files.live != nil {
			j.files.live.off = 0
		}
		j.look(journalGrace)
	}
	if s := j.Stats(); s.Lines < uint64(b.N) || s.Bad > 0 {
		b.Fatalf("%+v", s)
	}
}
