package openai

import (
	"bytes"
	"hash/maphash"
	"math/bits"
)

// seed differs from process to process, so that nobody can prepare keys whose
// hashes collide.
var seed = maphash.MakeSeed()

// member is a key with, at the top level, its value. Offsets into the body, which
// is why Scan refuses more than 4 GiB: the records of a body that is nothing but
// keys stay within a small multiple of it.
type member struct {
	hash    uint32 // of the decoded key
	start   uint32 // the key's opening quote
	keyEnd  uint32 // after its closing quote
	value   uint32 // the value's first byte
	end     uint32 // after its last; top level only
	escaped bool   // the key has an escape
}

func (s *scanner) hashKey(start, end int, escaped bool) (uint32, error) {
	text := s.raw[start+1 : end-1]
	if escaped {
		var whole bool
		if s.decoded, whole = appendUnescaped(s.decoded[:0], text); !whole {
			return 0, syntaxError(start, "a key has half a surrogate pair")
		}
		text = s.decoded
	}
	return uint32(maphash.Bytes(seed, text)), nil
}

// keyText returns a decoded key: a part of raw, where nothing needs decoding.
func (m *member) keyText(raw []byte) []byte {
	text := raw[m.start+1 : m.keyEnd-1]
	if m.escaped {
		text, _ = appendUnescaped(nil, text)
	}
	return text
}

func sameKey(raw []byte, a, b *member) bool {
	return a.hash == b.hash && bytes.Equal(a.keyText(raw), b.keyText(raw))
}

// fewKeys is up to where comparing each with each is cheaper than a table.
const fewKeys = 8

// distinct checks the keys of one object, when it closes. Linear in their number.
func (s *scanner) distinct(keys []member) error {
	if len(keys) <= fewKeys {
		for i := 1; i < len(keys); i++ {
			for j := range i {
				if sameKey(s.raw, &keys[i], &keys[j]) {
					return s.duplicate(&keys[i])
				}
			}
		}
		return nil
	}
	// An open-addressed table of indices + 1, at most half full.
	size := 1 << bits.Len(uint(2*len(keys)-1))
	if cap(s.slots) < size {
		s.slots = make([]uint32, size)
	}
	slots := s.slots[:size]
	clear(slots)
	for i := range keys {
		at := int(keys[i].hash) & (size - 1)
		for slots[at] != 0 {
			if sameKey(s.raw, &keys[i], &keys[slots[at]-1]) {
				return s.duplicate(&keys[i])
			}
			at = (at + 1) & (size - 1)
		}
		slots[at] = uint32(i) + 1
	}
	return nil
}

// duplicate names a key of the body itself. One further inside may be a part of the
// prompt (API-6).
func (s *scanner) duplicate(m *member) error {
	e := &ScanError{Err: ErrDuplicateKey, Offset: int(m.start)}
	if s.depth == 1 {
		e.Key = bounded(m.keyText(s.raw))
	}
	return e
}
