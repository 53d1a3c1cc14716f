package outbox

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/extproc/admission"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/streams"
)

// Book is what an Outbox needs of an admission.Book.
type Book interface {
	Ready(ctx context.Context, n int) ([]admission.Event, error)
	Published(id string, seq uint64)
	Unpublished()
	Undelivered() (highest uint64, ok bool)
	Delivered(floor uint64) error
	Dropped() (seq uint64)
	Stats() admission.Stats
}

// Sink is where events go.
type Sink struct {
	// Name says which durable consumer is the sink's: letters, digits, - and _. A
	// sink that keeps its name keeps its place.
	Name  string
	Scope Scope
	// Place says where the sink takes events, for people.
	Place string
	billing.Sink
}

// Scope says whose events a sink gets.
type Scope uint8

// The scopes.
const (
	// Own is a sink that stands beside this instance, such as a file: it gets what
	// this instance settled.
	Own Scope = iota
	// All is a sink that all instances on one NATS share: one of them feeds it, with
	// what any of them settled.
	All
)

// Options are what an Outbox needs. All must be set but Replicas.
type Options struct {
	JS       jetstream.JetStream
	Prefix   string // of streams; letters, digits, - and _
	Instance string // this instance's events: letters, digits, - and _; the same after a restart
	Replicas int    // default 1
	Tries    int    // how often one event is offered to one sink
	// SettleTimeout is how long after another instance has settled a request this one
	// may give it up. The same on all.
	SettleTimeout time.Duration
	Book          Book
	Sinks         []Sink
	// Alone: no other instance is on this NATS. One sink then gets its events from the
	// log itself.
	Alone bool
	Log   *slog.Logger
}

// Outbox is running until Close.
type Outbox struct {
	opt     Options
	workers []*worker
	stats   counters

	run     context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup
	started sync.Once
	// redriving: two at once would deliver twice.
	redriving sync.Mutex
	lost      atomic.Pointer[context.CancelCauseFunc] // has the publisher look at NATS anew
	unsure    map[string]bool                         // ids that were sent and not acknowledged; the publisher's own
}

type counters struct {
	published, duplicates, failures atomic.Uint64
	connected                       atomic.Bool
}

// Stats are counts since Start, and how things stand.
type Stats struct {
	Connected  bool   // the streams are there
	Published  uint64 // events that NATS took
	Duplicates uint64 // of those, the ones that it had already
	Failures   uint64 // rounds of publishing that did not work
	Sinks      []SinkStats
}

// SinkStats is about one sink. Counts are since Start; what instances share counts
// where it was fed from.
type SinkStats struct {
	Name  string // as in Sink
	Place string // as in Sink
	// Delivered are events that the sink took.
	Delivered uint64
	// Failures are tries that the sink or its receiver did not take, outages included.
	Failures uint64
	Retries  uint64 // of those, the ones that were about an event
	Dead     uint64 // events that went to the dead letters
	Buried   uint64 // dead letters that wait, also from before; as of a few seconds ago
	// Failing: the last try did not work.
	Failing bool

	// As of the last look, half a second ago or so while NATS is there.
	Backlog uint64        // in the stream, not with the sink
	Oldest  time.Time     // when the oldest of the backlog ended; zero: there is none, or it is not known
	Age     time.Duration // how long ago that was; 0 where Oldest is zero
}

// Start begins at once and waits for NATS in the background. The sinks are the
// caller's to close, after Close.
func Start(o Options) *Outbox {
	b := &Outbox{opt: o, unsure: make(map[string]bool)}
	b.opt.Replicas = max(o.Replicas, 1)
	b.run, b.stop = context.WithCancel(context.Background())
	for _, s := range o.Sinks {
		b.workers = append(b.workers, newWorker(&b.opt, s))
	}
	feed := b.publish
	if b.opt.direct() {
		feed = b.deliverDirect
	}
	b.wg.Go(func() { feed(b.run) })
	b.wg.Go(func() { b.watchDead(b.run) })
	return b
}

// Stats may be called at any time.
func (b *Outbox) Stats() Stats {
	s := Stats{
		Connected: b.stats.connected.Load(), Published: b.stats.published.Load(),
		Duplicates: b.stats.duplicates.Load(), Failures: b.stats.failures.Load(),
	}
	for _, w := range b.workers {
		if b.opt.direct() {
			w.backlog.Store(uint64(b.opt.Book.Stats().Ready))
		}
		s.Sinks = append(s.Sinks, w.stats())
	}
	return s
}

// drainPoll is how often Close looks whether everything is delivered.
const drainPoll = 20 * time.Millisecond

// Close waits until every sink has every event, or ctx is done; what is left waits
// in the admission log for the next start.
func (b *Outbox) Close(ctx context.Context) error {
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	var left int
	for {
		if b.stats.connected.Load() && !b.opt.direct() {
			b.raiseFloor(ctx)
		}
		s := b.opt.Book.Stats()
		if left = s.Ready + s.Published; left == 0 || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	b.stop()
	b.wg.Wait()
	if left > 0 {
		b.opt.Log.Warn("billing: events wait for the next start", "events", left)
	}
	return nil
}

// Names of what is in NATS.
func (o *Options) stream() string       { return o.Prefix + "_billing_events" }
func (o *Options) deadStream() string   { return o.Prefix + "_billing_dead" }
func (o *Options) subjects() string     { return o.Prefix + ".billing.events." }
func (o *Options) subject() string      { return o.subjects() + o.Instance }
func (o *Options) deadSubjects() string { return o.Prefix + ".billing.dead." }

// leastDedupe is how long NATS knows an id again by itself, at least. Over a restart the
// stream is searched instead.
const leastDedupe = 2 * time.Minute

// dedupe is long enough for an instance that gives a request up, after the settle
// timeout, to find that another one has settled it.
func (o *Options) dedupe() time.Duration { return max(leastDedupe, o.SettleTimeout+time.Minute) }

// setup makes the streams, or brings them up to date, and removes the consumers of
// sinks that this instance no longer has.
func (b *Outbox) setup(ctx context.Context) error {
	o := &b.opt
	s, err := streams.Ensure(ctx, o.JS, jetstream.StreamConfig{
		Name: o.stream(), Subjects: []string{o.subjects() + "*"},
		Description: "shunt: billing events on their way to sinks",
		Storage:     jetstream.FileStorage, Replicas: o.Replicas, Duplicates: o.dedupe(),
		// The log has what a crash takes from the stream.
		PersistMode: o.persistMode(),
	}, merge)
	if err != nil {
		return err
	}
	if err := b.makeDeadStream(ctx); err != nil {
		return err
	}
	for _, w := range b.workers {
		if err := w.setup(ctx); err != nil {
			return err
		}
	}
	return b.removeStale(ctx, s)
}

func (b *Outbox) makeDeadStream(ctx context.Context) error {
	o := &b.opt
	_, err := streams.Ensure(ctx, o.JS, jetstream.StreamConfig{
		Name: o.deadStream(), Subjects: []string{o.deadSubjects() + ">"},
		Description: "shunt: billing events that a sink did not take",
		Storage:     jetstream.FileStorage, Replicas: o.Replicas, Duplicates: o.dedupe(),
	}, merge)
	return err
}

// persistMode is not to be changed later, and replicated streams know only the default:
// a NATS that may get replicas one day has that from the start.
func (o *Options) persistMode() jetstream.PersistModeType {
	if o.Alone {
		return jetstream.AsyncPersistMode
	}
	return jetstream.DefaultPersistMode
}

func (b *Outbox) removeStale(ctx context.Context, s jetstream.Stream) error {
	mine := make(map[string]bool)
	for _, w := range b.workers {
		mine[w.durable] = true
	}
	names := s.ConsumerNames(ctx)
	var stale []string
	for name := range names.Name() {
		if strings.HasPrefix(name, b.opt.Instance+"-") && !mine[name] {
			stale = append(stale, name)
		}
	}
	errs := []error{names.Err()}
	for _, name := range stale {
		errs = append(errs, s.DeleteConsumer(ctx, name))
	}
	return errors.Join(errs...)
}

// pause is a back-off.
type pause struct{ next time.Duration }

const (
	firstPause   = 100 * time.Millisecond
	longestPause = time.Minute
)

func (p *pause) reset() { p.next = 0 }

// wait waits, longer each time, up to limit. It is false when ctx is done.
func (p *pause) wait(ctx context.Context, limit time.Duration) bool {
	p.next = min(max(2*p.next, firstPause), limit)
	t := time.NewTimer(p.next)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
