package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/prefs"
)

// Preferences is the store of saved preferences (PREF-1 … PREF-3). It implements
// prefs.Store.
//
// A read is answered from memory while the watch of the bucket is current. While it
// is not, NATS is asked first and memory is what remains if NATS does not answer: so
// after an interruption nothing stale is served, and during one as much as can be.
type Preferences struct {
	bucket *bucket
	watch  *watch
	cache  *cache[string, *entry]
	count  *counters
	log    *slog.Logger
	limits limits

	seed    maphash.Seed
	stripes [stripes]stripe
	// era is the incarnation of the bucket; entries of another are void.
	era atomic.Uint32
	// mute is the time, in Unix nanoseconds, before which NATS is not asked again by
	// reads, because it just failed to answer.
	mute atomic.Int64
}

const (
	prefsHistory = 8
	prefsSlack   = 1 << 10 // a message is a little more than its value
	prefsBatch   = 256

	muteTime     = 500 * time.Millisecond
	updateRounds = 8
)

var _ prefs.Store = (*Preferences)(nil)

// entry is what is known of one user. It is shared and not changed, but for resolved.
// It holds the document as it is stored: a tenth of what it takes once decoded, and
// only a GET asks for that.
type entry struct {
	revision uint64
	era      uint32
	cost     int32  // bytes in memory, once resolved
	data     []byte // a valid document; nil: nothing is saved
	resolved atomic.Pointer[resolved]
}

// document is what data says.
func (e *entry) document() prefs.Document {
	if e.data == nil {
		return prefs.Document{}
	}
	d, err := prefs.Decode(e.data)
	if err != nil {
		panic(err) // decode has checked it
	}
	return d
}

// resolved keeps what a document means under one catalog.
type resolved struct {
	catalog     *catalog.Catalog
	preferences *policy.Preferences
}

// stripe guards the cache entries of those users that hash to it. With it goes the
// newest revision that any of them is known to have: what is older might be stale,
// and is not put into the cache.
type stripe struct {
	mu     sync.Mutex
	newest uint64
}

const stripes = 1 << 12

func newPreferences(s *State, o Options) (*Preferences, error) {
	c, err := newCache[string, *entry](o.State.Cache.Preferences, nil)
	if err != nil {
		return nil, fmt.Errorf("make the cache of preferences: %w", err)
	}
	p := &Preferences{cache: c, count: &s.count, log: o.Log, limits: s.limits, seed: maphash.MakeSeed()}
	p.bucket = newBucket(s.js, o.State.Prefix+"_prefs", func() jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Description:       "shunt: saved preferences by keyed hash of the user",
			MaxMsgsPerSubject: prefsHistory, MaxMsgSize: prefs.MaxDocument + prefsSlack,
			Storage: jetstream.FileStorage, Replicas: o.State.Replicas,
			Discard: jetstream.DiscardNew, AllowRollup: true, DenyDelete: true,
		}
	})
	p.watch = &watch{bucket: p.bucket, link: s.link, log: o.Log, batch: prefsBatch, apply: p.apply, wiped: p.wiped, caughtUp: func() { p.mute.Store(0) }}
	return p, nil
}

// Get implements prefs.Store.
func (p *Preferences) Get(ctx context.Context, user string) (prefs.Document, prefs.Revision, error) {
	e, err := p.entry(ctx, user, p.ask)
	if err != nil {
		return prefs.Document{}, 0, err
	}
	return e.document(), prefs.Revision(e.revision), nil
}

// For returns the user's preferences as policy takes them, resolved against c; nil
// if nothing is saved. Errors are Get's. It waits for NATS less long than Get does, and
// allocates only when the document or the catalog has changed.
func (p *Preferences) For(ctx context.Context, user string, c *catalog.Catalog) (*policy.Preferences, error) {
	e, err := p.entry(ctx, user, p.glance)
	if err != nil || e.data == nil {
		return nil, err
	}
	if r := e.resolved.Load(); r != nil && r.catalog == c {
		return r.preferences, nil
	}
	r := &resolved{c, Resolve(e.document(), c)}
	e.resolved.Store(r)
	return r.preferences, nil
}

// entry is what is in memory, if that is sure to be so, or else what load finds.
func (p *Preferences) entry(ctx context.Context, user string, load func(context.Context, string) (*entry, error)) (*entry, error) {
	if err := checkUser(user); err != nil {
		return nil, err
	}
	e, ok := p.cache.get(user)
	ok = ok && e.era == p.era.Load()
	connected := p.bucket.js.Conn().IsConnected()
	if ok && connected && p.watch.current.Load() {
		p.count.prefsCached.Add(1)
		return e, nil
	}
	err := errLost
	if connected {
		var fresh *entry
		if fresh, err = load(ctx, user); err == nil {
			return fresh, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read preferences: %w", context.Cause(ctx))
		}
	}
	if ok {
		p.count.prefsUnverified.Add(1)
		return e, nil
	}
	p.count.prefsUnavailable.Add(1)
	return nil, fmt.Errorf("%w: %w", prefs.ErrUnavailable, err)
}

var errMuted = errors.New("NATS did not answer a moment ago")

// glance asks NATS for a request that is to be routed: once, and not for long.
func (p *Preferences) glance(ctx context.Context, user string) (*entry, error) {
	if time.Now().UnixNano() < p.mute.Load() {
		return nil, errMuted
	}
	ctx, cancel := context.WithTimeout(ctx, p.limits.load)
	defer cancel()
	e, err := p.load(ctx, user)
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errNoBucket) { // not: a client that went away
		p.mute.Store(time.Now().Add(muteTime).UnixNano())
	}
	return e, err
}

// ask asks NATS for a user who wants to see what is saved.
func (p *Preferences) ask(ctx context.Context, user string) (*entry, error) {
	ctx, cancel := context.WithTimeout(ctx, p.limits.ask)
	defer cancel()
	return p.load(ctx, user)
}

func (p *Preferences) load(ctx context.Context, user string) (*entry, error) {
	before := p.mark(user)
	v, err := p.bucket.get(ctx, user)
	if err != nil {
		return nil, err
	}
	p.count.prefsLoaded.Add(1)
	e := p.decode(user, v)
	p.loaded(user, e, before)
	return e, nil
}

// Update implements prefs.Store.
func (p *Preferences) Update(ctx context.Context, user string, change func(prefs.Document) (prefs.Document, error)) (prefs.Document, error) {
	if err := checkUser(user); err != nil {
		return prefs.Document{}, err
	}
	if !p.bucket.js.Conn().IsConnected() {
		return prefs.Document{}, p.unavailable(ctx, errLost)
	}
	within, cancel := context.WithTimeout(ctx, p.limits.update)
	defer cancel()
	for round := range updateRounds {
		v, err := p.bucket.get(within, user)
		if err != nil {
			return prefs.Document{}, p.unavailable(ctx, err)
		}
		old := p.decode(user, v)
		next, err := change(old.document())
		if err != nil {
			return prefs.Document{}, err
		}
		data := next.Encode()
		if bytes.Equal(data, v.data) {
			p.learn(user, old) // what this caller has seen, its next read sees
			return next, nil
		}
		revision, err := p.bucket.put(within, user, data, v.revision)
		if errors.Is(err, errChanged) {
			p.count.prefsConflicts.Add(1)
			pause(within, rand.N(time.Duration(round+1)*2*time.Millisecond))
			continue
		}
		if err != nil {
			return prefs.Document{}, p.unavailable(ctx, err)
		}
		p.wrote(user, p.decode(user, value{data, revision}))
		return next, nil
	}
	return prefs.Document{}, fmt.Errorf("%w: %d attempts", prefs.ErrConflict, updateRounds)
}

// Delete implements prefs.Store.
func (p *Preferences) Delete(ctx context.Context, user string) error {
	if err := checkUser(user); err != nil {
		return err
	}
	if !p.bucket.js.Conn().IsConnected() {
		return p.unavailable(ctx, errLost)
	}
	within, cancel := context.WithTimeout(ctx, p.limits.update)
	defer cancel()
	revision, err := p.bucket.purge(within, user)
	if err != nil {
		return p.unavailable(ctx, err)
	}
	p.wrote(user, p.decode(user, value{revision: revision}))
	return nil
}

func (p *Preferences) unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("change preferences: %w", context.Cause(ctx))
	}
	p.count.prefsUnavailable.Add(1)
	return fmt.Errorf("%w: %w", prefs.ErrUnavailable, err)
}

// checkUser refuses what is no keyed hash, and what NATS would take for a pattern.
func checkUser(user string) error {
	const longest = 128
	if user == "" || len(user) > longest {
		return fmt.Errorf("a user's hash has %d characters: want 1 to %d", len(user), longest)
	}
	for i := range len(user) {
		c := user[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return errors.New("a user's hash has a character other than letters, digits, - and _")
		}
	}
	return nil
}
