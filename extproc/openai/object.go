package openai

import (
	"hash/maphash"
	"iter"
)

// Object is a body that Scan has checked, with its top-level members in the order
// in which they stand.
type Object struct {
	raw     []byte
	members []member
}

// Member is one top-level member. Offsets are into Raw.
type Member struct {
	Key        []byte // decoded; a part of Raw where it has no escapes
	Start, End int    // the key's opening quote; after the value
	ValueStart int
}

// Raw returns the body that was scanned.
func (o *Object) Raw() []byte { return o.raw }

// Len returns the number of top-level members.
func (o *Object) Len() int { return len(o.members) }

// Members yields the top-level members in the body's order.
func (o *Object) Members() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		for i := range o.members {
			m := &o.members[i]
			out := Member{
				Key: m.keyText(o.raw), Start: int(m.start), End: int(m.end), ValueStart: int(m.value),
			}
			if !yield(out) {
				return
			}
		}
	}
}

// Get returns the JSON value of a top-level member, as a part of Raw. Keys compare
// decoded: "mod\u0065l" in the body is model.
func (o *Object) Get(key string) (value []byte, ok bool) {
	i := o.index(key)
	if i < 0 {
		return nil, false
	}
	m := &o.members[i]
	return o.raw[m.value:m.end:m.end], true
}

func (o *Object) index(key string) int {
	if len(o.members) == 0 {
		return -1
	}
	hash := uint32(maphash.String(seed, key))
	for i := range o.members {
		m := &o.members[i]
		if m.hash == hash && string(m.keyText(o.raw)) == key {
			return i
		}
	}
	return -1
}

// Kind is what a JSON value is.
type Kind uint8

// The kinds. Missing is the zero value: no such member.
const (
	Missing Kind = iota
	Null
	Bool
	Number
	String
	Array
	Map
)

// KindOf tells a checked JSON value's kind from its first byte; of no bytes,
// Missing.
func KindOf(value []byte) Kind {
	if len(value) == 0 {
		return Missing
	}
	switch value[0] {
	case 'n':
		return Null
	case 't', 'f':
		return Bool
	case '"':
		return String
	case '[':
		return Array
	case '{':
		return Map
	}
	return Number
}

// Bool returns a top-level member's kind and, where it is Bool, its value.
func (o *Object) Bool(key string) (value bool, kind Kind) {
	raw, _ := o.Get(key)
	kind = KindOf(raw)
	return kind == Bool && raw[0] == 't', kind
}

// Text returns a top-level member's kind and, where it is String, its decoded
// value; half a surrogate pair in it becomes U+FFFD.
func (o *Object) Text(key string) (value string, kind Kind) {
	raw, _ := o.Get(key)
	if kind = KindOf(raw); kind != String {
		return "", kind
	}
	text, _ := appendUnescaped(make([]byte, 0, len(raw)), raw[1:len(raw)-1])
	return string(text), kind
}

// StreamRequested reports whether the body asks for a streamed answer: "stream"
// is true, and nothing else that a reader might take for it.
func StreamRequested(o *Object) bool {
	stream, _ := o.Bool("stream")
	return stream
}
