package soak

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
)

// key is a request id, which is a UUID, in few bytes: there are millions.
type key [16]byte

// keyOf is zero for what is no UUID.
func keyOf(id string) (k key) {
	if b, err := hex.DecodeString(strings.ReplaceAll(id, "-", "")); err == nil && len(b) == len(k) {
		copy(k[:], b)
	}
	return k
}

// entry is what one sink holds of one request.
type entry struct {
	status   string
	amount   string
	print    uint64 // of the event's bytes: one that comes twice must be the same
	times    int32
	conflict bool
}

// ledger is what one sink has received. Its zero value is not ready: use newLedger.
type ledger struct {
	mu     sync.Mutex
	seed   maphash.Seed
	events map[key]entry
	torn   int // lines that are no event: the one that a kill cut
}

func newLedger() *ledger {
	return &ledger{seed: maphash.MakeSeed(), events: map[key]entry{}}
}

// take adds one event.
func (l *ledger) take(event []byte) error {
	var e struct {
		ID   string
		Data struct{ Status, Amount string }
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return err
	}
	id := keyOf(e.ID)
	if id == (key{}) {
		return fmt.Errorf("the id %q is no UUID", e.ID)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := maphash.Bytes(l.seed, event)
	was, twice := l.events[id]
	if twice && was.print != sum {
		was.conflict = true
	}
	if !twice {
		was = entry{status: e.Data.Status, amount: e.Data.Amount, print: sum}
	}
	was.times++
	l.events[id] = was
	return nil
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.events)
}

// tail reads a file sink as it grows.
type tail struct {
	*ledger
	f    *os.File
	rest []byte // the beginning of a line
	buf  []byte
}

// read takes what has come since the last time.
func (s *tail) read(path string) error {
	if s.f == nil {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		s.f, s.buf = f, make([]byte, 1<<20)
	}
	for {
		n, err := s.f.Read(s.buf)
		s.rest = append(s.rest, s.buf[:n]...)
		for {
			line, after, whole := bytes.Cut(s.rest, []byte("\n"))
			if !whole {
				break
			}
			if s.take(line) != nil {
				s.torn++
			}
			s.rest = after
		}
		s.rest = append([]byte(nil), s.rest...)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// remote is an HTTP sink that can be away.
type remote struct {
	*ledger
	t    testing.TB
	mu   sync.Mutex
	away bool
}

func (r *remote) setAway(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
}

func (r *remote) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender was killed
	}
	r.mu.Lock()
	away := r.away
	r.mu.Unlock()
	if away {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	var batch []json.RawMessage
	if err := json.Unmarshal(body, &batch); err != nil {
		batch = []json.RawMessage{body}
	}
	for _, e := range batch {
		if err := r.take(e); err != nil {
			r.t.Errorf("the HTTP sink received %.200q: %v", e, err)
		}
	}
}

// compare says what is wrong with a sink, given the requests that must have an event
// and the most that can have one.
func (l *ledger) compare(t *testing.T, name string, admitted map[key]struct{}, most int) map[string]int {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	missing, conflicts, wrong, again := 0, 0, 0, 0
	for id := range admitted {
		if _, ok := l.events[id]; !ok {
			missing++
		}
	}
	count := map[string]int{}
	for _, e := range l.events {
		count[e.status]++
		if e.conflict {
			conflicts++
		}
		if e.times > 1 {
			again++
		}
		if e.status == "completed" && e.amount != amount {
			wrong++
		}
	}
	if missing+conflicts+wrong > 0 || len(l.events) > most {
		t.Errorf("%s: %d events; of %d admitted %d are missing, %d have two different events, %d a wrong amount; at most %d requests were made",
			name, len(l.events), len(admitted), missing, conflicts, wrong, most)
	}
	t.Logf("%s: %d events %v, %d of them delivered more than once, %d torn lines", name, len(l.events), count, again, l.torn)
	return count
}

func (l *ledger) String() string { return fmt.Sprintf("%d events", l.len()) }
