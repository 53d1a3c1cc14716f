package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/policy/sticky"
)

// Sticky remembers which provider served which conversation (CACHE-2, CACHE-4). It
// implements sticky.Store. A Lookup looks into memory alone; a Record is in memory at
// once and in NATS, and so on other instances, a moment later, or never if NATS is
// away for long: then a conversation finds another provider, which costs a cache hit.
type Sticky struct {
	bucket *bucket
	watch  *watch
	cache  *cache[uint64, record]
	queue  *queue[pending]
	js     jetstream.JetStream // of its own: what it has under way is counted apart
	link   *link
	names  *names
	count  *counters
	log    *slog.Logger
	limits limits

	ttl     atomic.Int64 // nanoseconds
	applied int          // by the watch, since the cache last settled

	closing context.Context // ends when flush is called
	close   context.CancelFunc
	flushed chan struct{} // closed when write has ended
}

var _ sticky.Store = (*Sticky)(nil)

// record is what is known of a conversation. The cache's key is one half of the
// conversation's.
type record struct {
	other    uint64 // the other half
	at       int64  // Unix milliseconds
	provider uint32 // see names
}

// pending is a record that is still to be written.
type pending struct {
	key sticky.Key
	rec record
}

const (
	queueSize = 1 << 14
	underWay  = 512 // records that NATS has not acknowledged yet
	// A record whose provider was recorded less than this part of the time to live ago
	// is not written again.
	freshPart = 10
	// costRecord is what a record takes in memory, in bytes; measured by TestMemory.
	costRecord   = 200
	stickyBatch  = 4096
	settleEvery  = 4096 // less than ristretto's buffer
	longestSlug  = 64
	shortestKept = time.Second // JetStream's bound is 100 ms
)

func newSticky(s *State, o Options) (*Sticky, error) {
	c, err := newCache[uint64, record](o.State.Cache.Sticky, func(k uint64) (uint64, uint64) { return k, 0 })
	if err != nil {
		return nil, fmt.Errorf("make the cache of stickiness: %w", err)
	}
	st := &Sticky{
		cache: c, queue: newQueue[pending](queueSize), link: s.link, names: s.names, count: &s.count, log: o.Log, limits: s.limits,
		flushed: make(chan struct{}),
	}
	st.closing, st.close = context.WithCancel(context.Background())
	st.ttl.Store(int64(o.StickyTTL))
	st.js, err = jetstream.New(s.conn,
		jetstream.WithPublishAsyncMaxPending(underWay),
		jetstream.WithPublishAsyncTimeout(s.limits.ack),
		jetstream.WithPublishAsyncAckHandler(func(jetstream.JetStream, *nats.Msg, *jetstream.PubAck) { st.count.stickyWritten.Add(1) }),
		jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) { st.count.stickyFailed.Add(1) }),
	)
	if err != nil {
		c.close()
		return nil, err
	}
	st.bucket = newBucket(st.js, o.State.Prefix+"_sticky", func() jetstream.StreamConfig {
		kept := max(time.Duration(st.ttl.Load()), shortestKept)
		config := jetstream.StreamConfig{
			Description:       "shunt: the provider that served a conversation last, by keyed hash of the conversation",
			MaxMsgsPerSubject: 1, MaxMsgSize: 4 << 10, MaxAge: kept, Duplicates: shortestKept,
			MaxBytes: o.State.Cache.Sticky, Discard: jetstream.DiscardOld,
			Storage: jetstream.FileStorage, Replicas: o.State.Replicas,
			AllowRollup: true, DenyDelete: true,
		}
		if s.server != nil {
			config.PersistMode = jetstream.AsyncPersistMode // nobody misses the last second after a power cut
		}
		return config
	})
	st.watch = &watch{bucket: st.bucket, link: s.link, log: o.Log, batch: stickyBatch, apply: st.apply, wiped: func() {}, caughtUp: func() {}}
	return st, nil
}

// SetTTL changes routing.sticky_ttl, as a reload may. What is remembered keeps the
// time at which it was recorded. The error says that NATS keeps the old one for now;
// it hears of the new one when it is reached again.
func (st *Sticky) SetTTL(ctx context.Context, ttl time.Duration) error {
	if st.ttl.Swap(int64(ttl)) == int64(ttl) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, st.limits.setup)
	defer cancel()
	_, err := st.bucket.ensure(ctx)
	return err
}

// halves of a key: one for the cache to find it by, one to compare.
func halves(k sticky.Key) (key, other uint64) {
	return binary.BigEndian.Uint64(k[:8]), binary.BigEndian.Uint64(k[8:])
}

// Lookup implements sticky.Store.
func (st *Sticky) Lookup(k sticky.Key, now time.Time) (string, bool) {
	key, other := halves(k)
	r, ok := st.cache.get(key)
	if !ok || r.other != other || now.UnixMilli()-r.at >= st.ttlMillis() {
		st.count.stickyMisses.Add(1)
		return "", false
	}
	st.count.stickyHits.Add(1)
	return st.names.name(r.provider), true
}

func (st *Sticky) ttlMillis() int64 { return st.ttl.Load() / int64(time.Millisecond) }

// Record implements sticky.Store.
func (st *Sticky) Record(k sticky.Key, slug string, now time.Time) {
	id, ok := st.names.id(slug)
	if !ok {
		st.count.stickyFailed.Add(1)
		return
	}
	key, other := halves(k)
	r := record{other, now.UnixMilli(), id}
	if old, ok := st.cache.get(key); ok && old.other == other && old.provider == id {
		// CACHE-4: sliding, to within a tenth.
		if age := r.at - old.at; -st.ttlMillis() < age && age < st.ttlMillis()/freshPart {
			st.count.stickySkipped.Add(1)
			return
		}
	}
	st.cache.put(key, r, costRecord, time.Duration(st.ttl.Load()))
	if st.queue.push(pending{k, r}) {
		st.count.stickyDropped.Add(1)
	}
}

// apply takes a record from the watch: of another instance, of this one before it
// was started again, or the echo of one that is known. The clock of the instance that
// recorded it is believed.
func (st *Sticky) apply(ev event) {
	k, err := sticky.ParseKey(ev.key)
	if err != nil {
		st.foreign(ev, err.Error())
		return
	}
	key, other := halves(k)
	if ev.deleted {
		if old, ok := st.cache.get(key); ok && old.other == other {
			st.cache.remove(key)
		}
		return
	}
	slug, at, err := parseRecord(ev.data)
	if err != nil {
		st.foreign(ev, err.Error())
		return
	}
	id, ok := st.names.id(slug)
	if !ok {
		st.foreign(ev, "too many different providers")
		return
	}
	if old, ok := st.cache.get(key); ok && old.other == other && old.at >= at {
		return
	}
	now := time.Now().UnixMilli()
	left := st.ttlMillis() - (now - at)
	if left <= 0 {
		return
	}
	left = min(left, st.ttlMillis())
	st.cache.put(key, record{other, min(at, now), id}, costRecord, time.Duration(left)*time.Millisecond)
	if st.applied++; st.applied >= settleEvery {
		st.applied = 0
		st.cache.settle() // a whole bucket arrives faster than the cache takes it
	}
}

func (st *Sticky) foreign(ev event, why string) {
	st.count.foreign.Add(1)
	st.log.Warn("skipped a value in a bucket", "bucket", st.bucket.name, "key", bounded(ev.key), "revision", ev.revision, "error", why)
}

// appendRecord writes the stored form: the slug, a space, Unix milliseconds.
func appendRecord(dst []byte, slug string, at int64) []byte {
	return strconv.AppendInt(append(append(dst, slug...), ' '), at, 10)
}

var errRecord = errors.New("not a provider and a time")

func parseRecord(b []byte) (slug string, at int64, err error) {
	slug, digits, ok := strings.Cut(string(b), " ")
	if !ok || slug == "" || len(slug) > longestSlug || strings.ContainsFunc(slug, func(r rune) bool { return r > unicode.MaxASCII || r < ' ' }) {
		return "", 0, errRecord
	}
	at, err = strconv.ParseInt(digits, 10, 64)
	if err != nil || at <= 0 {
		return "", 0, errRecord
	}
	return slug, at, nil
}
