package state

import (
	"hash/maphash"

	"github.com/shunt-gateway/shunt/policy/prefs"
)

// How the cache of preferences stays right. Three parties put entries into it: the
// watch, in the order of revisions; a change that this instance made, which the watch
// reports later; and a read, whose answer may be overtaken by either. All of them do
// so under the user's stripe, and none puts in what might be older than something
// that was known before.

func (p *Preferences) stripe(user string) *stripe {
	return &p.stripes[maphash.String(p.seed, user)%stripes]
}

// apply takes a change from the watch.
func (p *Preferences) apply(ev event) {
	if checkUser(ev.key) != nil {
		p.foreign(ev.key, ev.revision, "a key that is no user's hash")
		return
	}
	v := value{revision: ev.revision}
	if !ev.deleted {
		v.data = ev.data
	}
	p.learn(ev.key, p.decode(ev.key, v))
}

// wrote takes a change that NATS acknowledged to this instance: from here on, reads
// see it. NATS answers, so that reads may ask it again.
func (p *Preferences) wrote(user string, e *entry) {
	p.count.prefsUpdated.Add(1)
	p.mute.Store(0)
	p.learn(user, e)
}

func (p *Preferences) learn(user string, e *entry) {
	s := p.stripe(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.revision >= s.newest {
		s.newest = e.revision
		p.store(user, e)
		return
	}
	// Something newer is known, of this user or of another in the stripe.
	p.drop(user, e)
}

// drop removes from the cache what is older than e. The stripe is locked.
func (p *Preferences) drop(user string, e *entry) {
	if old, ok := p.cache.get(user); ok && (old.revision < e.revision || old.era != e.era) {
		p.cache.remove(user)
		p.cache.settle()
	}
}

// mark is taken before NATS is asked for a user's document, and given to loaded with
// the answer.
func (p *Preferences) mark(user string) uint64 {
	s := p.stripe(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// loaded takes an answer of NATS. If a change was seen in the meantime, it may be one
// of this user's and newer: then the next read asks again.
func (p *Preferences) loaded(user string, e *entry, mark uint64) {
	s := p.stripe(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	overtaken := s.newest != mark
	s.newest = max(s.newest, e.revision) // it was read: what is older is stale from now on
	if overtaken {
		p.drop(user, e)
		return
	}
	p.store(user, e)
}

// store puts an entry into the cache, unless a newer one is there. The stripe is
// locked, and stays so until the cache has settled: see cache.put.
func (p *Preferences) store(user string, e *entry) {
	if old, ok := p.cache.get(user); ok && old.era == e.era && old.revision >= e.revision {
		return
	}
	p.cache.put(user, e, int64(e.cost), 0)
	p.cache.settle()
}

// wiped makes all that is known void: the bucket is another than before.
func (p *Preferences) wiped() {
	for i := range p.stripes {
		p.stripes[i].mu.Lock()
	}
	p.era.Add(1)
	for i := range p.stripes {
		p.stripes[i].newest = 0
		p.stripes[i].mu.Unlock()
	}
}

// decode reads a stored value, which the entry keeps. What is no document counts as
// none: its revision is kept, so that an Update can replace it.
func (p *Preferences) decode(user string, v value) *entry {
	e := &entry{revision: v.revision, era: p.era.Load(), cost: costEntry}
	if v.data == nil {
		return e
	}
	doc, err := prefs.Decode(v.data)
	if err != nil {
		p.foreign(user, v.revision, err.Error())
		return e
	}
	if !doc.IsZero() {
		e.data, e.cost = v.data, cost(doc, len(v.data))
	}
	return e
}

func (p *Preferences) foreign(key string, revision uint64, why string) {
	p.count.foreign.Add(1)
	p.log.Warn("skipped a value in a bucket", "bucket", p.bucket.name, "key", bounded(key), "revision", revision, "error", why)
}

func bounded(key string) string {
	const longest = 128
	return key[:min(len(key), longest)]
}

// What an entry of the cache takes, in bytes; measured by TestMemory.
const (
	costEntry    = 250 // the entry, its places in ristretto's maps
	costResolved = 150
	costModels   = 450 // a small map
	costModel    = 130 // a place in it, when it has grown
	costProvider = 8
)

// cost is what a document of this size takes in memory, once resolved.
func cost(d prefs.Document, size int) int32 {
	n := costEntry + size + costResolved + costProvider*(len(d.Preferred)+len(d.Excluded))
	if len(d.Models) > 0 {
		n += costModels
	}
	for _, o := range d.Models {
		n += costModel + costProvider*(len(o.Preferred)+len(o.Excluded))
	}
	return int32(n)
}
