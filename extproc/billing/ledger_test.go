package billing

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/test/loglines"
)

// memoryJournal keeps the first event of each request; while err is set it keeps
// none.
type memoryJournal struct {
	mu     sync.Mutex
	got    []Message
	status []Status
	err    error
}

func (j *memoryJournal) Finish(id string, status Status, event []byte) (bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil || j.has(id) {
		return false, j.err
	}
	j.got, j.status = append(j.got, Message{id, event}), append(j.status, status)
	return true, nil
}

func (j *memoryJournal) Known(id string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.has(id)
}

func (j *memoryJournal) has(id string) bool {
	return slices.ContainsFunc(j.got, func(m Message) bool { return m.ID == id })
}

func settled(t *testing.T, offer, id string) (*Quote, *Record) {
	c, offers := testCatalog()
	f := facts(c)
	f.ID = id
	q := NewQuote(decide(policy.KindExplicit, offers[offer]), f)
	return travelled(t, q), &Record{Status: 200, AttemptCount: 1, Usage: usage(10, 5, 0, 0, 0)}
}

// BILL-1: one event per request; reporting it twice does not bill twice.
func TestLedgerSettlesOnce(t *testing.T) {
	log, lines := loglines.New()
	j := &memoryJournal{}
	l := NewLedger(log, j)
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
	if len(j.got) != 2 || j.got[0].ID != "one" || j.got[1].ID != "two" || j.status[0] != Completed {
		t.Fatalf("kept %v, %v", j.got, j.status)
	}
	var e Event
	if err := json.Unmarshal(j.got[0].Body, &e); err != nil || e.ID != "one" || e.Data.Amount.String() != "0.000019425" {
		t.Errorf("%v: %s", err, j.got[0].Body)
	}
	if n := strings.Count(lines.String(), "passed over"); n != 7 {
		t.Errorf("%d second reports logged, want 7", n)
	}
}

// BILL-1: the first event is final, also where it says unsettled.
func TestLedgerUnsettles(t *testing.T) {
	log, lines := loglines.New()
	j := &memoryJournal{}
	l := NewLedger(log, j)
	q, r := settled(t, "novita", "one")
	so := &Record{Start: q.StartedAt, Duration: time.Minute, Status: 200, AttemptCount: 1, Provider: "novita", AnswerBytes: 9000}
	if err := l.Unsettle(string(q.AppendJSON(nil)), so, q.StartedAt.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := l.Settle(t.Context(), q, r); err != nil || len(j.got) != 1 || !strings.Contains(lines.String(), "passed over") {
		t.Fatalf("%v, kept %v, logged %q", err, j.got, lines)
	}
	var e Event
	if err := json.Unmarshal(j.got[0].Body, &e); err != nil {
		t.Fatal(err)
	}
	d := e.Data
	if d.Status != Unsettled || d.Provider != "novita" || len(d.Attempts) != 1 || d.Attempts[0].Outcome != "" || !d.Amount.IsZero() || d.ListAmount.Valid {
		t.Errorf("event %s", j.got[0].Body)
	}
	if want := q.StartedAt.Add(time.Minute); !d.EndedAt.Equal(want) {
		t.Errorf("ended at %v, want when it was last heard of, %v", d.EndedAt, want)
	}
	if err := l.Unsettle("{}", nil, time.Now()); !errors.Is(err, ErrQuote) {
		t.Errorf("a quote that is none: %v", err)
	}
}

func TestLedgerSettlesAgainAfterAnError(t *testing.T) {
	log, lines := loglines.New()
	j := &memoryJournal{err: errors.New("no room")}
	l := NewLedger(log, j)
	q, r := settled(t, "novita", "one")
	if err := l.Settle(t.Context(), q, r); err == nil || !strings.Contains(lines.String(), "no room") {
		t.Fatalf("%v, logged %q", err, lines)
	}
	j.err = nil
	if err := l.Settle(t.Context(), q, r); err != nil || len(j.got) != 1 {
		t.Fatalf("%v, kept %v", err, j.got)
	}
}

func TestLedgerSaysWhereAPriceIsMissing(t *testing.T) {
	log, lines := loglines.New()
	l := NewLedger(log, &memoryJournal{})
	q, r := settled(t, "cheap", "one")
	if err := l.Settle(t.Context(), q, r); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(lines.String(), "price unknown") {
		t.Errorf("logged %q", lines)
	}
}
