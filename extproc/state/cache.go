package state

import (
	"sync"
	"time"

	"github.com/dgraph-io/ristretto/v2"
)

// cache is a bounded read cache. Whatever is in it may vanish at any moment, and a
// put may be without effect. After close, it is empty and stays so: ristretto itself
// must not be used then, hence the lock.
type cache[K ristretto.Key, V any] struct {
	mu     sync.RWMutex
	closed bool
	c      *ristretto.Cache[K, V]
}

// perCounter is how many bytes of the limit come with one of the counters by which
// ristretto judges what is worth keeping. A counter takes about three bytes, an
// entry some hundreds: so there are several times as many counters as entries, for a
// twentieth of the limit.
const perCounter = 64

// newCache returns a cache that takes up to limit bytes, if put is told right what an
// entry takes. hash may be nil.
func newCache[K ristretto.Key, V any](limit int64, hash func(K) (uint64, uint64)) (*cache[K, V], error) {
	counters := limit / perCounter
	c, err := ristretto.NewCache(&ristretto.Config[K, V]{
		NumCounters:        counters,
		MaxCost:            limit - 3*counters,
		BufferItems:        64,
		KeyToHash:          hash,
		IgnoreInternalCost: true, // it is a part of what put is told
	})
	if err != nil {
		return nil, err
	}
	return &cache[K, V]{c: c}, nil
}

func (c *cache[K, V]) get(key K) (v V, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return v, false
	}
	return c.c.Get(key)
}

// put returns at once; that the entry can be seen may take a moment. Of two puts of a
// new key, one right after the other, the second may be lost: ristretto refuses an
// entry while an earlier one for the same key is on its way. settle in between avoids
// that. A ttl of 0 is none.
func (c *cache[K, V]) put(key K, v V, cost int64, ttl time.Duration) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.closed {
		c.c.SetWithTTL(key, v, cost, ttl)
	}
}

func (c *cache[K, V]) remove(key K) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.closed {
		c.c.Del(key)
	}
}

// settle waits until every put and remove before it has had its effect.
func (c *cache[K, V]) settle() {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.closed {
		c.c.Wait()
	}
}

func (c *cache[K, V]) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.c.Close()
	}
}
