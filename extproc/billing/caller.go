package billing

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"sync"
	"sync/atomic"
)

// Hasher turns who a caller is into the keyed hash that stands for it in quotes
// and events: 32 hex digits of HMAC-SHA256. Without the key, a hash can neither be
// reversed nor recomputed from a list of likely API keys. It is safe for use by
// several goroutines.
type Hasher struct{ pool atomic.Pointer[sync.Pool] }

// HasherKeySize is the size of a Hasher's key, in bytes.
const HasherKeySize = 32

const subjectBytes = 16

type hashState struct {
	mac hash.Hash
	buf [sha256.Size]byte
	hex [2 * subjectBytes]byte
}

// NewHasher returns a Hasher with this key, which must be HasherKeySize random
// bytes and stay the same for as long as events are to be added up by caller.
func NewHasher(key []byte) (*Hasher, error) {
	h := new(Hasher)
	if err := h.Rekey(key); err != nil {
		return nil, err
	}
	return h, nil
}

// Rekey gives the Hasher another key. Callers have other subjects from then on.
func (h *Hasher) Rekey(key []byte) error {
	if len(key) != HasherKeySize {
		return fmt.Errorf("billing: caller key of %d bytes, want %d", len(key), HasherKeySize)
	}
	key = append([]byte(nil), key...)
	h.pool.Store(&sync.Pool{New: func() any {
		return &hashState{mac: hmac.New(sha256.New, key)}
	}})
	return nil
}

// The kinds of caller are hashed apart: a user whose id is someone's API key is
// not that someone.
var (
	kindAPIKey = []byte("key\x00")
	kindUser   = []byte("user\x00")
)

// APIKey is the subject of callers known by this API key; "" for an empty one.
func (h *Hasher) APIKey(key []byte) string { return h.subject(kindAPIKey, key) }

// User is the subject of the user with this id; "" for an empty one.
func (h *Hasher) User(id []byte) string { return h.subject(kindUser, id) }

func (h *Hasher) subject(kind, caller []byte) string {
	if len(caller) == 0 {
		return ""
	}
	pool := h.pool.Load()
	s := pool.Get().(*hashState)
	defer pool.Put(s)
	s.mac.Reset()
	s.mac.Write(kind)
	s.mac.Write(caller)
	sum := s.mac.Sum(s.buf[:0])
	hex.Encode(s.hex[:], sum[:subjectBytes])
	return string(s.hex[:])
}
