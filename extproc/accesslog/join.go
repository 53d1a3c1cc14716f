package accesslog

import (
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// Failed attempts wait here for their request's end, which is minutes away when the
// next one streams. What is forgotten costs its event the outcome and duration of
// an attempt, nothing else.
const (
	joinLimit      = 65_536    // requests; about 20 MB when full
	joinTTL        = time.Hour // since a request's first failed attempt
	joinPerRequest = 64        // attempts of one request
)

// join holds attempts by request id. It is safe for use by several goroutines.
type join struct {
	limit int
	ttl   time.Duration

	mu   sync.Mutex
	byID map[string]*list.Element
	age  list.List // of *waiting, oldest first
}

type waiting struct {
	id       string
	since    time.Time
	attempts []billing.Attempt
}

func newJoin(limit int, ttl time.Duration) *join {
	return &join{limit: limit, ttl: ttl, byID: make(map[string]*list.Element)}
}

// add keeps a for its request; false says that the request has too many already.
func (j *join) add(id string, a billing.Attempt, now time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if el, ok := j.byID[id]; ok {
		w := el.Value.(*waiting)
		if slices.Contains(w.attempts, a) { // reported twice
			return true
		}
		if len(w.attempts) >= joinPerRequest {
			return false
		}
		w.attempts = append(w.attempts, a)
		return true
	}
	for el := j.age.Front(); el != nil && (j.age.Len() >= j.limit || now.Sub(el.Value.(*waiting).since) >= j.ttl); el = j.age.Front() {
		j.remove(el)
	}
	j.byID[id] = j.age.PushBack(&waiting{id: id, since: now, attempts: []billing.Attempt{a}})
	return true
}

// take returns what was kept for a request, in the order of the attempts, and
// forgets it.
func (j *join) take(id string) []billing.Attempt {
	j.mu.Lock()
	defer j.mu.Unlock()
	el, ok := j.byID[id]
	if !ok {
		return nil
	}
	attempts := el.Value.(*waiting).attempts
	j.remove(el)
	slices.SortStableFunc(attempts, func(a, b billing.Attempt) int { return a.Start.Compare(b.Start) })
	return attempts
}

func (j *join) remove(el *list.Element) {
	j.age.Remove(el)
	delete(j.byID, el.Value.(*waiting).id)
}
