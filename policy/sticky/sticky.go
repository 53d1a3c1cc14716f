// Package sticky names a conversation by a keyed hash, so that the provider that
// served it last can be found again without a prompt being kept (CACHE-2, CACHE-4).
package sticky

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
	"sync/atomic"
	"time"
)

// Key stands for a caller, a model and what a provider's prompt cache would look
// at. Without the Keyer's secret it neither tells what was hashed nor can be
// computed for a guess.
type Key [16]byte

// String is 22 characters: letters, digits, - and _.
func (k Key) String() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// ErrKey means that a text is no Key.
var ErrKey = errors.New("not a sticky key of 22 characters")

// ParseKey reads what String wrote, and nothing else. The error is ErrKey.
func ParseKey(s string) (Key, error) {
	var k Key
	if len(s) != base64.RawURLEncoding.EncodedLen(len(k)) {
		return Key{}, ErrKey
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(k[:], []byte(s)); err != nil {
		return Key{}, ErrKey
	}
	return k, nil
}

// Store remembers which provider served a conversation last. Both methods may be
// called by several goroutines at once and never wait for a network.
type Store interface {
	// Lookup returns the slug of the provider recorded for k, if that was less than
	// routing.sticky_ttl before now.
	Lookup(k Key, now time.Time) (slug string, ok bool)
	// Record says that the provider answered a request of this conversation at now
	// (CACHE-4). The time to live slides: it begins anew, to within a tenth of it.
	Record(k Key, slug string, now time.Time)
}

// SecretSize is the size of a Keyer's secret, in bytes.
const SecretSize = 32

// Keyer makes keys. It may be used by several goroutines at once.
//
// The keyed hash is HMAC-SHA256, cut to 128 bits: in the standard library, beyond
// doubt as a keyed hash, and with today's processors' instructions for it about as
// fast as keyed BLAKE2b or SipHash in Go, some 1 GB/s. With 128 bits, any two of a
// billion conversations meet with a probability of 1e-21.
type Keyer struct{ pool atomic.Pointer[sync.Pool] }

// NewKeyer returns a Keyer with this secret, which must be SecretSize random bytes,
// the same on every instance that shares a Store.
func NewKeyer(secret []byte) (*Keyer, error) {
	k := new(Keyer)
	if err := k.Rekey(secret); err != nil {
		return nil, err
	}
	return k, nil
}

// Rekey gives the Keyer another secret. Conversations have other keys from then on.
func (k *Keyer) Rekey(secret []byte) error {
	if len(secret) != SecretSize {
		return fmt.Errorf("sticky: secret of %d bytes, want %d", len(secret), SecretSize)
	}
	// Not the secret itself: it may serve for other hashes as well, and what is a
	// key there must not be one here.
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("shunt sticky key v1"))
	derived := mac.Sum(nil)
	k.pool.Store(&sync.Pool{New: func() any {
		return &state{mac: hmac.New(sha256.New, derived)}
	}})
	return nil
}

type state struct {
	mac hash.Hash
	buf [sha256.Size]byte
}

// Begin starts the key of one request: caller is the keyed hash of the session,
// else of the API key; model is the model's id. Every Hash must be ended with Sum or
// Drop.
func (k *Keyer) Begin(caller, model string) Hash {
	pool := k.pool.Load()
	s := pool.Get().(*state)
	s.mac.Reset()
	h := Hash{pool: pool, state: s}
	h.string('c', caller)
	h.string('m', model)
	return h
}

// Hash is a key in the making. It is fed with the spans of the request's body that
// are relevant to a provider's prompt cache, as they stand there, in the body's
// order, and keeps none of them (CACHE-2). Spans that are cut differently give
// different keys: Instruction("a"), Instruction("b") is not Instruction("ab").
type Hash struct {
	pool  *sync.Pool // where state goes back to
	state *state
}

// Tools adds the value of the body's tools. Requests without tools do not call it.
func (h Hash) Tools(raw []byte) { h.span('t', raw) }

// Instruction adds one system or developer message, or the value of instructions.
func (h Hash) Instruction(raw []byte) { h.span('s', raw) }

// First adds the first message that is neither, or the value of a prompt or an
// input that is no list.
func (h Hash) First(raw []byte) { h.span('f', raw) }

// span frames what it adds: a tag, the length, the bytes.
func (h Hash) span(tag byte, raw []byte) {
	h.frame(tag, len(raw))
	h.state.mac.Write(raw)
}

func (h Hash) string(tag byte, s string) {
	h.frame(tag, len(s))
	for len(s) > 0 { // through the buffer: a conversion would allocate
		n := copy(h.state.buf[:], s)
		h.state.mac.Write(h.state.buf[:n])
		s = s[n:]
	}
}

func (h Hash) frame(tag byte, n int) {
	h.state.buf[0] = tag
	binary.BigEndian.PutUint64(h.state.buf[1:9], uint64(n))
	h.state.mac.Write(h.state.buf[:9])
}

// Sum ends the Hash and returns the key.
func (h Hash) Sum() Key {
	k := Key(h.state.mac.Sum(h.state.buf[:0])[:len(Key{})])
	h.Drop()
	return k
}

// Drop ends the Hash without a key.
func (h Hash) Drop() {
	clear(h.state.buf[:])
	h.state.mac.Reset()
	h.pool.Put(h.state)
}
