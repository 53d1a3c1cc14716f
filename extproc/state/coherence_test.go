package state

import (
	"fmt"
	"hash/maphash"
	"testing"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/policy/prefs"
)

// roommates are users who share a stripe.
func roommates(p *Preferences, n int) []string {
	users := []string{"u0"}
	for i := 1; len(users) < n; i++ {
		if u := fmt.Sprintf("u%d", i); p.stripe(u) == p.stripe("u0") {
			users = append(users, u)
		}
	}
	return users
}

// loading is a read that is under way.
type loading struct {
	user  string
	mark  uint64
	entry *entry // nil: NATS has not answered yet
}

// machine is the world around the cache: what NATS has committed, how far the watch
// is, which reads are under way, and what this instance must not forget.
type machine struct {
	p         *Preferences
	users     []string
	committed []event           // all changes, in order; revision = index + 1
	newest    map[string]uint64 // committed, by user
	delivered int               // by the watch
	known     map[string]uint64 // acknowledged, delivered or read on this instance
	loads     []loading
}

func (m *machine) commit(user string) uint64 {
	rev := uint64(len(m.committed) + 1)
	data := prefs.Document{Preferred: []string{fmt.Sprintf("r%d", rev)}}.Encode()
	m.committed = append(m.committed, event{key: user, revision: rev, data: data})
	m.newest[user] = rev
	return rev
}

// read is NATS's answer for a user at this moment.
func (m *machine) read(user string) *entry {
	v := value{revision: m.newest[user]}
	if v.revision > 0 {
		v.data = m.committed[v.revision-1].data
	}
	return m.p.decode(user, v)
}

func (m *machine) step(t *rapid.T) {
	user := rapid.SampledFrom(m.users).Draw(t, "user")
	switch rapid.SampledFrom([]string{"other writes", "own write", "watch", "watch", "begin", "answer", "end", "evict"}).Draw(t, "step") {
	case "other writes":
		m.commit(user)
	case "own write":
		rev := m.commit(user)
		m.p.wrote(user, m.read(user))
		m.known[user] = max(m.known[user], rev)
	case "watch":
		if m.delivered < len(m.committed) {
			ev := m.committed[m.delivered]
			m.delivered++
			m.p.apply(ev)
			m.known[ev.key] = max(m.known[ev.key], ev.revision)
		}
	case "begin":
		m.loads = append(m.loads, loading{user: user, mark: m.p.mark(user)})
	case "answer":
		for i := range m.loads {
			if m.loads[i].entry == nil {
				m.loads[i].entry = m.read(m.loads[i].user)
				break
			}
		}
	case "end":
		if n := len(m.loads); n > 0 {
			i := rapid.IntRange(0, n-1).Draw(t, "load")
			if l := m.loads[i]; l.entry != nil {
				m.p.loaded(l.user, l.entry, l.mark)
				m.known[l.user] = max(m.known[l.user], l.entry.revision)
				m.loads = append(m.loads[:i], m.loads[i+1:]...)
			}
		}
	case "evict":
		m.p.cache.remove(user)
		m.p.cache.settle()
	}
}

// check: nothing in the cache is older than what is known, and once the watch is
// through, nothing is older than what is committed.
func (m *machine) check(t *rapid.T) {
	for _, user := range m.users {
		e, ok := m.p.cache.get(user)
		if !ok {
			continue
		}
		least := m.known[user]
		if m.delivered == len(m.committed) {
			least = m.newest[user]
		}
		if e.revision < least {
			t.Fatalf("%s: revision %d is in the cache, and %d is known", user, e.revision, least)
		}
		if e.revision > 0 && e.document().Preferred[0] != fmt.Sprintf("r%d", e.revision) {
			t.Fatalf("%s: revision %d has the document %+v", user, e.revision, e.document())
		}
	}
}

func TestCoherence(t *testing.T) {
	c, err := newCache[string, *entry](1<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	rapid.Check(t, func(t *rapid.T) {
		p := &Preferences{cache: c, count: new(counters), seed: maphash.MakeSeed()}
		m := &machine{p: p, users: roommates(p, 3), newest: make(map[string]uint64), known: make(map[string]uint64)}
		if rapid.Bool().Draw(t, "one user") {
			m.users = m.users[:1]
		}
		for _, u := range m.users {
			c.remove(u)
		}
		c.settle()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			m.step(t)
			m.check(t)
		}
	})
}

// What was known of a bucket that is gone is not served.
func TestWiped(t *testing.T) {
	c, err := newCache[string, *entry](1<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	p := &Preferences{cache: c, count: new(counters), seed: maphash.MakeSeed()}
	ev := event{key: "u", revision: 9, data: prefs.Document{Preferred: []string{"old"}}.Encode()}
	p.apply(ev)
	p.wiped()
	if e, ok := c.get("u"); ok && e.era == p.era.Load() {
		t.Error("the old document is still valid")
	}
	ev.revision, ev.data = 1, prefs.Document{Preferred: []string{"new"}}.Encode()
	p.apply(ev)
	if e, ok := c.get("u"); !ok || e.era != p.era.Load() || e.document().Preferred[0] != "new" {
		t.Error("the new bucket's document, of a lower revision, was not taken")
	}
}
