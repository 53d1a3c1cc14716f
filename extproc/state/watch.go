package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// watch follows all changes of a bucket and hands them on in their order. It lives
// as long as the State: when a connection, a server or a consumer is lost, it begins
// again where it was, so that no change is missed; where the bucket is another than
// before, it says so and begins from the start.
type watch struct {
	bucket *bucket
	link   *link
	log    *slog.Logger
	batch  int // messages that may be on their way

	apply func(event) // called by one goroutine
	wiped func()      // all that was handed on is void

	caughtUp func() // current has become true

	// current: every change that was made before this became true has been handed on.
	current  atomic.Bool
	restarts atomic.Uint64
	trouble  atomic.Pointer[string] // why the last session ended; nil while all is well

	seen uint64    // sequence of the last message; 0: none
	born time.Time // of the stream that seen belongs to
}

// event is one change of one key.
type event struct {
	key      string
	revision uint64
	data     []byte
	deleted  bool
}

const (
	shortestWait = 50 * time.Millisecond // between two sessions
	longestWait  = 2 * time.Second
	// A cluster that is electing a leader does not answer at all: better ask again.
	setupTimeout = 2 * time.Second

	// The server says at least this often that it is there; after twice the time, the
	// watch looks for another. Half a second is the least that NATS allows.
	heartbeat = 500 * time.Millisecond
	// What the server does with a consumer whose instance has died.
	inactive = 30 * time.Second
)

// run watches until ctx ends.
func (w *watch) run(ctx context.Context) {
	wait := shortestWait
	for {
		session, cancel, err := w.link.wait(ctx)
		if err != nil {
			return
		}
		err = w.session(session, func() { wait = shortestWait })
		w.current.Store(false)
		cancel()
		if ctx.Err() != nil {
			return
		}
		w.restarts.Add(1)
		why := err.Error()
		if old := w.trouble.Swap(&why); !errors.Is(err, errLost) && (old == nil || *old != why) {
			w.log.Warn("following a bucket was interrupted", "bucket", w.bucket.name, "error", err)
		}
		pause(ctx, wait)
		wait = min(2*wait, longestWait)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

var errGap = errors.New("a change was lost on its way")

// session watches until something goes wrong. It calls well when all changes so far
// have been handed on.
func (w *watch) session(ctx context.Context, well func()) error {
	consumer, pending, err := w.begin(ctx)
	if err != nil {
		return err
	}
	defer w.forget(consumer.CachedInfo().Name)
	current := func() {
		if !w.current.Swap(true) {
			w.trouble.Store(nil)
			w.caughtUp()
			well()
		}
	}
	if pending == 0 {
		current()
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(w.batch), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return fmt.Errorf("follow bucket %s: %w", w.bucket.name, err)
	}
	defer messages.Stop()
	for next := uint64(1); ; next++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("follow bucket %s: %w", w.bucket.name, cause(ctx, err))
		}
		meta, err := m.Metadata()
		if err != nil || meta.Sequence.Consumer != next {
			return fmt.Errorf("follow bucket %s: %w", w.bucket.name, errGap)
		}
		w.apply(event{
			key:      strings.TrimPrefix(m.Subject(), w.bucket.prefix),
			revision: meta.Sequence.Stream,
			data:     m.Data(),
			deleted:  isDeletion(m.Headers()),
		})
		w.seen = meta.Sequence.Stream
		if meta.NumPending == 0 {
			current()
		}
	}
}

// begin makes a consumer that goes on where the last session ended.
func (w *watch) begin(ctx context.Context) (jetstream.Consumer, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	info, err := w.bucket.ensure(ctx)
	if err != nil {
		return nil, 0, cause(ctx, err)
	}
	if !info.Created.Equal(w.born) || info.State.LastSeq < w.seen {
		if w.seen > 0 {
			w.log.Warn("a bucket is not the one that it was: reading it anew", "bucket", w.bucket.name)
		}
		w.wiped()
		w.born, w.seen = info.Created, 0
	}
	config := jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
		FilterSubject: w.bucket.prefix + ">",
		AckPolicy:     jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: inactive,
	}
	if w.seen > 0 {
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, w.seen+1
	}
	consumer, err := w.bucket.js.CreateConsumer(ctx, "KV_"+w.bucket.name, config)
	if err != nil {
		return nil, 0, fmt.Errorf("follow bucket %s: %w", w.bucket.name, cause(ctx, err))
	}
	return consumer, consumer.CachedInfo().NumPending, nil
}

// forget removes a consumer, if that can be done at once; else the server does after
// a while.
func (w *watch) forget(name string) {
	if !w.bucket.js.Conn().IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), heartbeat)
	defer cancel()
	if err := w.bucket.js.DeleteConsumer(ctx, "KV_"+w.bucket.name, name); err != nil {
		w.log.Debug("a consumer is left to NATS to remove", "bucket", w.bucket.name, "error", err)
	}
}

// cause prefers to say that it was the connection.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); errors.Is(c, errLost) {
		return c
	}
	return err
}
