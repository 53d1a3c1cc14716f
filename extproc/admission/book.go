package admission

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// Options are what a Book needs. Dir and Log must be set.
type Options struct {
	Dir string // for the log alone; made if it is not there
	// Flush is how often the log is flushed to the disk. Default 20 ms.
	Flush time.Duration
	// MaxBytes bounds the log. At the bound Admit answers ErrFull, or the oldest
	// events are dropped, as OnFull says. Default 1 GiB.
	MaxBytes int64
	OnFull   OnFull
	Log      *slog.Logger

	segment int64            // bytes of one; default 8 MiB, less where MaxBytes is small
	now     func() time.Time // default time.Now, whose monotonic part is what counts
	open    func(path string) (file, error)
}

// OnFull is what a full log means.
type OnFull uint8

// The choices.
const (
	Block      OnFull = iota // nothing is admitted
	DropOldest               // the oldest events that wait for a sink are lost, loudly
)

// Errors of Admit.
var (
	ErrFull   = errors.New("admission log: full of events that wait for their sinks")
	ErrDisk   = errors.New("admission log: the disk does not take the admission")
	ErrClosed = errors.New("admission log: closed")
	ErrVoid   = errors.New("admission log: Envoy has given the request up")
)

type state uint8

const (
	open      state = iota // admitted, not ended
	ready                  // has its event, which is not in the outbox yet
	published              // in the outbox, not with every sink
	ghost                  // done as unsettled, and remembered for late news
)

// entry is what is known of a request. The newest record of it stands at at, body
// bytes of quote or event at its end.
type entry struct {
	id        string
	state     state
	unsettled bool
	at        at
	body      int
	kept      []byte // quote or event, where the disk did not take it
	unwritten bool   // the disk has the admission and must take the event before anybody sees it
	since     time.Time
	last      *billing.Record
	seq       uint64
	el        *list.Element // in the list of its state
}

// Book is safe for use by several goroutines. Its lock is held for a write(2) into
// the page cache, never for a flush of the disk.
type Book struct {
	opt Options

	mu     sync.Mutex
	store  store
	byID   map[string]*entry
	lists  [ghost + 1]list.List // of *entry by state; open ones by when they were heard
	done   *billing.Window
	voided *billing.Window // were given up before they were admitted, if ever they are
	closed bool
	// unwritten events wait for the disk, in memory. Nobody may see them before: after
	// a crash they would get a second, other event.
	unwritten []*entry
	stats     Stats
	dropped   uint64 // highest sequence number of a published one that was given up
	highest   uint64 // sequence number that was published
	trouble   bool   // the disk refused the last write

	tidying  sync.Mutex // one tidies at a time; before flushing and mu
	flushing sync.Mutex // one flushes at a time; before mu

	some chan struct{} // there may be ready ones
	tidy chan struct{}
	stop chan struct{}
	wg   sync.WaitGroup
}

// Stats are counts since Open, and how things stand.
type Stats struct {
	Open, Ready, Published int // requests without an event; events not in the outbox; not with every sink
	Bytes                  int64
	Segments               int
	Admitted, Finished     uint64
	Late                   uint64 // reports of requests that had their event
	Refused                uint64 // admissions refused: full, or the disk did
	Voided                 uint64 // admissions taken back: nobody was told of them
	Dropped                uint64 // events lost to DropOldest
	DiskErrors             uint64
	Flushes                uint64
}

// Admit writes down that the request is admitted, before anybody is told so. After
// an error it must not be.
func (b *Book) Admit(id string, quote []byte) error {
	if id == "" || len(id) > maxID || len(quote) > maxBody {
		return fmt.Errorf("admission log: id of %d and quote of %d bytes; the limits are 1 to %d and %d", len(id), len(quote), maxID, maxBody)
	}
	rec := buffers.Get().(*[]byte)
	defer buffers.Put(rec)
	*rec = appendRecord((*rec)[:0], kindAdmitted, id, quote)
	e := &entry{id: id, body: len(quote), since: b.opt.now()}

	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	if b.voided.Has(id) {
		return ErrVoid
	}
	if _, known := b.byID[id]; known {
		return nil
	}
	if b.full() && b.opt.OnFull == Block {
		b.stats.Refused++
		return ErrFull
	}
	where, err := b.write(*rec)
	if err != nil {
		if b.opt.OnFull == Block {
			b.stats.Refused++
			return fmt.Errorf("%w: %w", ErrDisk, err)
		}
		e.kept = append([]byte(nil), quote...)
	}
	b.stats.Admitted++
	e.at = where
	b.byID[id] = e
	b.put(e, open)
	return nil
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Heard takes note that a request is under way, and how far it is. Ids that are
// not known are passed over.
func (b *Book) Heard(id string, so *billing.Record) {
	now := b.opt.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.byID[id]; e != nil && e.state == open {
		e.since, e.last = now, so
		b.lists[open].MoveToBack(e.el)
	}
}

// Renew takes every open request as heard of now.
func (b *Book) Renew() {
	now := b.opt.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for el := b.lists[open].Front(); el != nil; el = el.Next() {
		el.Value.(*entry).since = now
	}
}

// Finish implements billing.Journal: the first event of a request is its only one.
func (b *Book) Finish(id string, status billing.Status, event []byte) (first bool, err error) {
	k := kindSettled
	if status == billing.Unsettled {
		k = kindUnsettled
	}
	if id == "" || len(id) > maxID || len(event) > maxBody {
		return false, fmt.Errorf("admission log: id of %d and event of %d bytes; the limits are 1 to %d and %d", len(id), len(event), maxID, maxBody)
	}
	rec := buffers.Get().(*[]byte)
	defer buffers.Put(rec)
	*rec = appendRecord((*rec)[:0], k, id, event)

	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false, ErrClosed
	}
	e := b.byID[id]
	if e != nil && e.state != open || e == nil && b.done.Has(id) {
		b.stats.Late++
		return false, nil
	}
	if e == nil { // admitted by another instance, or under another data_dir
		e = &entry{id: id}
		b.byID[id] = e
	}
	where, err := b.write(*rec)
	e.kept = nil
	if err != nil {
		e.kept = append(e.kept, event...)
		e.unwritten = e.at.seg != nil
	}
	if e.unwritten { // its admission stays its newest record
		b.unwritten = append(b.unwritten, e)
	} else {
		b.move(e, where)
	}
	e.body, e.last, e.unsettled = len(event), nil, k == kindUnsettled
	b.put(e, ready)
	b.stats.Finished++
	wake(b.some)
	return true, nil
}

// Known reports whether id has its event.
func (b *Book) Known(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.byID[id]
	return e != nil && e.state != open || e == nil && b.done.Has(id)
}

// Request is an open request.
type Request struct {
	ID    string
	Quote string
	Last  *billing.Record // of the last heartbeat; nil: there was none
}

// Quote returns the quote of an open request.
func (b *Book) Quote(id string) (quote string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.byID[id]
	if e == nil || e.state != open {
		return "", false
	}
	text, err := e.text()
	return string(text), err == nil
}

// Silent are open requests, at most n, of which nothing was heard for so long.
func (b *Book) Silent(long time.Duration, n int) ([]Request, error) {
	now := b.opt.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Request
	var errs []error
	for el := b.lists[open].Front(); el != nil && len(out) < n; el = el.Next() {
		e := el.Value.(*entry)
		if now.Sub(e.since) < long {
			break
		}
		quote, err := e.text()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, Request{ID: e.id, Quote: string(quote), Last: e.last})
	}
	return out, errors.Join(errs...)
}

// text is the entry's quote or event.
func (e *entry) text() ([]byte, error) {
	if e.kept != nil || e.at.seg == nil {
		return e.kept, nil
	}
	return e.at.body(e.body)
}

// Event is one on its way to the outbox.
type Event struct {
	ID   string
	Body []byte
}

// Ready waits until there are events that are not in the outbox, and returns the
// oldest, at most n. They stay until Published says that they are. An event is ready
// when it is on the disk itself: otherwise a crash of the machine could leave its
// admission alone, and a second event would be made. It is for one goroutine.
func (b *Book) Ready(ctx context.Context, n int) ([]Event, error) {
	for {
		if out, err := b.ready(n); len(out) > 0 || err != nil {
			return out, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-b.some:
		}
	}
}

func (b *Book) ready(n int) ([]Event, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Event
	var errs []error
	for el := b.lists[ready].Front(); el != nil && len(out) < n; el = el.Next() {
		e := el.Value.(*entry)
		if e.unwritten || e.at.seg != nil && !e.at.safe() {
			continue
		}
		body, err := e.text()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, Event{e.id, body})
	}
	return out, errors.Join(errs...)
}

// Published takes note that the outbox has the event under this sequence number.
func (b *Book) Published(id string, seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.byID[id]; e != nil && e.state == ready {
		e.seq = seq
		b.highest = max(b.highest, seq)
		b.put(e, published)
	}
}

// Unpublished takes note that the outbox has lost what it had.
func (b *Book) Unpublished() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.highest = 0
	for el := b.lists[published].Back(); el != nil; el = b.lists[published].Back() {
		e := el.Value.(*entry)
		b.put(e, ready)
		b.lists[ready].MoveToFront(e.el)
	}
	wake(b.some)
}

// Delivered takes note that every sink has the events up to this sequence number.
func (b *Book) Delivered(floor uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var done []*entry
	for el := b.lists[published].Front(); el != nil; el = el.Next() {
		e := el.Value.(*entry)
		if e.seq > floor {
			break // what is behind it has its turn when this one is done
		}
		done = append(done, e)
	}
	return b.finishAll(done)
}

// Undelivered is the highest sequence number that was published; ok is false where
// every sink has everything that is in the outbox.
func (b *Book) Undelivered() (highest uint64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.highest, b.lists[published].Len() > 0
}

// Dropped is the highest sequence number that DropOldest gave up; 0: none.
func (b *Book) Dropped() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}

// Stats returns the counts of this moment.
func (b *Book) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Open, s.Ready, s.Published = b.lists[open].Len(), b.lists[ready].Len(), b.lists[published].Len()
	s.Bytes, s.Segments = b.store.total, len(b.store.segs)
	return s
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
