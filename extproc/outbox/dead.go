package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// Headers of a dead letter.
const (
	headerSink  = "Shunt-Sink"
	headerPlace = "Shunt-Place"
	headerEvent = "Shunt-Event"
	headerTries = "Shunt-Tries"
	headerError = "Shunt-Error"
)

// DeadLetter is an event that a sink did not take. It waits for somebody to redrive
// it.
type DeadLetter struct {
	Number uint64    `json:"number"` // in the stream of dead letters; never used again
	Sink   string    `json:"sink"`   // as Sink.Name
	Place  string    `json:"place"`  // as Sink.Place
	ID     string    `json:"id"`     // of the event
	At     time.Time `json:"at"`     // when it was given up
	Tries  int       `json:"tries"`
	Error  string    `json:"error"` // of the last of them
	Event  string    `json:"event"` // the CloudEvent's JSON

	durable string
}

// Letters says which dead letters are meant.
type Letters struct {
	Sink  string   // a sink's name, or a part of its place; "": of every sink
	IDs   []string // of events, or numbers; none: all
	After uint64   // a number: those that come later
	Most  int      // at most so many; 0: all
}

func (f *Letters) has(l *DeadLetter) bool {
	return (f.Sink == "" || l.Sink == f.Sink || strings.Contains(l.Place, f.Sink)) &&
		(len(f.IDs) == 0 || slices.Contains(f.IDs, l.ID) || slices.Contains(f.IDs, strconv.FormatUint(l.Number, 10)))
}

// bury puts an event to the dead letters and reports whether it is there.
func (w *worker) bury(ctx context.Context, m message, tries int, cause error) bool {
	ctx, cancel := context.WithTimeout(ctx, natsTimeout)
	defer cancel()
	dead := nats.NewMsg(w.opt.deadSubjects() + w.durable)
	dead.Data = m.body()
	dead.Header.Set(headerSink, w.sink.Name)
	dead.Header.Set(headerPlace, oneLine(w.sink.Place))
	dead.Header.Set(headerEvent, m.id())
	dead.Header.Set(headerTries, strconv.Itoa(tries))
	dead.Header.Set(headerError, oneLine(cause.Error()))
	if _, err := w.opt.JS.PublishMsg(ctx, dead, jetstream.WithMsgID(m.id()+"@"+w.durable)); err != nil {
		w.opt.Log.Error("billing: cannot write to the dead letters; the sink is tried on", "sink", w.sink.Name, "request_id", m.id(), "error", err)
		return false
	}
	w.dead.Add(1)
	w.buried.Add(1)
	w.opt.Log.Error("billing: sink did not take an event; it is a dead letter now", "sink", w.sink.Name, "place", w.sink.Place, "request_id", m.id(), "tries", tries, "stream", w.opt.deadStream(), "error", cause)
	return true
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// DeadLetters are those of all instances on this NATS, oldest first.
func (b *Outbox) DeadLetters(ctx context.Context, which Letters) ([]DeadLetter, error) {
	s, err := b.opt.JS.Stream(ctx, b.opt.deadStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the dead letters: %w", err)
	}
	var list []DeadLetter
	for next := which.After + 1; which.Most == 0 || len(list) < which.Most; next++ {
		m, err := s.GetMsg(ctx, next, jetstream.WithGetMsgSubject(b.opt.deadSubjects()+">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the dead letters: %w", err)
		}
		next = m.Sequence
		if l := b.letter(m); which.has(&l) {
			list = append(list, l)
		}
	}
	return list, nil
}

func (b *Outbox) letter(m *jetstream.RawStreamMsg) DeadLetter {
	l := DeadLetter{
		Number: m.Sequence, Sink: m.Header.Get(headerSink), Place: m.Header.Get(headerPlace), ID: m.Header.Get(headerEvent),
		At: m.Time, Error: m.Header.Get(headerError), Event: string(m.Data), durable: strings.TrimPrefix(m.Subject, b.opt.deadSubjects()),
	}
	l.Tries, _ = strconv.Atoi(m.Header.Get(headerTries))
	if l.ID == "" { // of a shunt that did not write it there
		l.ID = strings.TrimSuffix(m.Header.Get(jetstream.MsgIDHeader), "@"+l.durable)
	}
	return l
}

// Redriven is what became of a dead letter. One with an error is a dead letter still.
type Redriven struct {
	DeadLetter
	Err error
}

// ErrNotOurs says that the dead letter is of a sink that this instance does not feed.
var ErrNotOurs = errors.New("billing: no such sink here")

// redriveBatch is how many are offered to a sink at once.
const redriveBatch = 100

// Redrive offers dead letters once more, each to the sink that did not take it and to
// no other, and removes those that it takes. It returns when every one was tried, or
// with ctx, which ends the wait for a receiver that is away. What was delivered and
// could not be removed says so: it is there twice if it is redriven again.
func (b *Outbox) Redrive(ctx context.Context, which Letters) ([]Redriven, error) {
	b.redriving.Lock()
	defer b.redriving.Unlock()
	letters, err := b.DeadLetters(ctx, which)
	if err != nil || len(letters) == 0 {
		return nil, err
	}
	s, err := b.opt.JS.Stream(ctx, b.opt.deadStream())
	if err != nil {
		return nil, fmt.Errorf("redrive dead letters: %w", err)
	}
	bySink := make(map[string][]DeadLetter)
	var order []string
	for _, l := range letters {
		if bySink[l.durable] == nil {
			order = append(order, l.durable)
		}
		bySink[l.durable] = append(bySink[l.durable], l)
	}
	var all []Redriven
	for _, durable := range order {
		for batch := range slices.Chunk(bySink[durable], redriveBatch) {
			all = append(all, b.redrive(ctx, s, durable, batch)...)
		}
	}
	return all, nil
}

// redrive offers a sink some of its dead letters.
func (b *Outbox) redrive(ctx context.Context, s jetstream.Stream, durable string, letters []DeadLetter) []Redriven {
	out := make([]Redriven, len(letters))
	messages := make([]billing.Message, len(letters))
	for i, l := range letters {
		out[i] = Redriven{DeadLetter: l, Err: ErrNotOurs}
		messages[i] = billing.Message{ID: l.ID, Body: []byte(l.Event)}
	}
	i := slices.IndexFunc(b.workers, func(w *worker) bool { return w.durable == durable })
	if i < 0 {
		return out
	}
	w := b.workers[i]
	for i, err := range w.offer(ctx, messages) {
		if out[i].Err = err; err != nil {
			continue
		}
		w.delivered.Add(1)
		b.opt.Log.Warn("billing: a dead letter was redriven", "sink", w.sink.Name, "request_id", letters[i].ID)
		if err := s.DeleteMsg(context.WithoutCancel(ctx), letters[i].Number); err != nil {
			out[i].Err = fmt.Errorf("delivered, but not removed from the dead letters: %w", err)
		}
	}
	return out
}

// offer is one try, with one error for each of ms.
func (w *worker) offer(ctx context.Context, ms []billing.Message) []error {
	errs := make([]error, len(ms))
	if many, ok := w.sink.Sink.(billing.Batcher); ok {
		copy(errs, many.DeliverAll(ctx, ms))
	} else {
		for i, m := range ms {
			errs[i] = w.sink.Deliver(ctx, m)
		}
	}
	if f, ok := w.sink.Sink.(billing.Flusher); ok {
		if err := f.Flush(ctx); err != nil {
			for i := range errs {
				errs[i] = errors.Join(errs[i], err)
			}
		}
	}
	return errs
}

// countEvery is how often the dead letters are counted.
const countEvery = 5 * time.Second

// watchDead notes how many dead letters each sink has.
func (b *Outbox) watchDead(ctx context.Context) {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for {
		if err := b.countDead(ctx); err != nil && ctx.Err() == nil {
			b.opt.Log.Debug("billing: cannot count the dead letters", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *Outbox) countDead(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, natsTimeout)
	defer cancel()
	s, err := b.opt.JS.Stream(ctx, b.opt.deadStream())
	if err != nil {
		return err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(b.opt.deadSubjects()+">"))
	if err != nil {
		return err
	}
	for _, w := range b.workers {
		w.buried.Store(info.State.Subjects[b.opt.deadSubjects()+w.durable])
	}
	return nil
}
