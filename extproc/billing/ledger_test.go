package billing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/shunt-gateway/shunt/policy"
)

// memorySink keeps messages; while err is set it takes none.
type memorySink struct {
	mu   sync.Mutex
	got  []Message
	err  error
	shut bool
}

func (s *memorySink) Deliver(_ context.Context, m Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.got = append(s.got, m)
	return nil
}

func (s *memorySink) Close(context.Context) error {
	s.shut = true
	return s.err
}

// logged is a logger and what it wrote.
func logged() (*slog.Logger, *lockedBuffer) {
	b := &lockedBuffer{}
	return slog.New(slog.NewTextHandler(b, nil)), b
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func settled(t *testing.T, offer, id string) (*Quote, *Record) {
	c, offers := testCatalog()
	f := facts(c)
	f.ID = id
	q := NewQuote(decide(policy.KindExplicit, offers[offer]), f)
	return travelled(t, q), &Record{Status: 200, AttemptCount: 1, Usage: usage(10, 5, 0, 0, 0)}
}

// BILL-1: one event per request; delivering it twice does not bill twice.
func TestLedgerDeliversOnce(t *testing.T) {
	log, lines := logged()
	a, b := &memorySink{}, &memorySink{}
	l := NewLedger(log, a, b)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			q, r := settled(t, "novita", "one")
			if err := l.Settle(t.Context(), q, r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	q, r := settled(t, "novita", "two")
	if err := l.Settle(t.Context(), q, r); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*memorySink{a, b} {
		if len(s.got) != 2 || s.got[0].ID != "one" || s.got[1].ID != "two" {
			t.Fatalf("delivered %v", s.got)
		}
		var e Event
		if err := json.Unmarshal(s.got[0].Body, &e); err != nil || e.ID != "one" || e.Data.Amount.String() != "0.000019425" {
			t.Errorf("%v: %s", err, s.got[0].Body)
		}
	}
	if n := strings.Count(lines.String(), "passed over"); n != 7 {
		t.Errorf("%d second reports logged, want 7", n)
	}
}

func TestLedgerSettlesAgainAfterAnError(t *testing.T) {
	log, lines := logged()
	s := &memorySink{err: errors.New("no room")}
	l := NewLedger(log, s)
	q, r := settled(t, "novita", "one")
	if err := l.Settle(t.Context(), q, r); err == nil || !strings.Contains(lines.String(), "no room") {
		t.Fatalf("%v, logged %q", err, lines)
	}
	s.err = nil
	if err := l.Settle(t.Context(), q, r); err != nil || len(s.got) != 1 {
		t.Fatalf("%v, delivered %v", err, s.got)
	}
	s.err = errors.New("3 events lost")
	if err := l.Close(t.Context()); err == nil || !s.shut {
		t.Errorf("Close: %v", err)
	}
}

func TestLedgerSaysWhereAPriceIsMissing(t *testing.T) {
	log, lines := logged()
	l := NewLedger(log, &memorySink{})
	q, r := settled(t, "cheap", "one")
	if err := l.Settle(t.Context(), q, r); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(lines.String(), "price unknown") {
		t.Errorf("logged %q", lines)
	}
}
