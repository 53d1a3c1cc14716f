package openai

import (
	"bytes"
	"math"
	"slices"
	"sync"
)

// MaxDepth is how many arrays and objects may be open at once, the body's own
// object included.
const MaxDepth = 1000

// Scan checks that raw is one JSON object by RFC 8259, in UTF-8, in which no
// object at any depth has a key twice (REQ-1), and finds its top-level members.
// The Object keeps raw and is valid for as long as raw is not changed.
//
// Half a surrogate pair (the escape \ud83d alone) is well-formed by the RFC's
// grammar, and clients that cut text in the middle of an emoji do send it: in a
// value it is the provider's to judge. In a key it is an error, because readers
// disagree on whether two such keys are one.
//
// A non-nil error is a *ScanError.
func Scan(raw []byte) (Object, error) {
	if len(raw) > math.MaxUint32 {
		return Object{}, &ScanError{Err: ErrTooLarge, Offset: math.MaxUint32}
	}
	s := scanners.Get().(*scanner)
	defer s.release()
	s.raw = raw
	if err := s.document(); err != nil {
		return Object{}, err
	}
	return Object{raw: raw, members: slices.Clone(s.keys)}, nil
}

var scanners = sync.Pool{New: func() any { return new(scanner) }}

// scanner is the state of one Scan. It keeps a stack of its own in place of
// recursion, so no body can exhaust a goroutine's.
type scanner struct {
	raw   []byte
	depth int
	// open has, for each open container, arrayFrame or the index in keys of an
	// object's first key.
	open [MaxDepth]uint32
	// keys are those of all open objects, the outermost object's first. What is
	// left at the end are the top-level members.
	keys    []member
	slots   []uint32 // see distinct
	decoded []byte   // scratch: a key without its escapes
}

const arrayFrame = math.MaxUint32

// What a scanner may keep for the next body: more than any honest request needs.
const (
	keepKeys = 4096
	keepText = 4096
)

func (s *scanner) release() {
	s.raw, s.depth, s.keys = nil, 0, s.keys[:0]
	if cap(s.keys) > keepKeys || cap(s.slots) > 4*keepKeys || cap(s.decoded) > keepText {
		s.keys, s.slots, s.decoded = nil, nil, nil
	}
	scanners.Put(s)
}

var byteOrderMark = []byte("\xef\xbb\xbf")

func (s *scanner) document() error {
	i := skipSpace(s.raw, 0)
	switch c := s.at(i); {
	case c == '{':
	case bytes.HasPrefix(s.raw[i:], byteOrderMark):
		return syntaxError(i, "a byte order mark stands")
	case c == '[' || c == '"' || c == '-' || isDigit(c) || c == 't' || c == 'f' || c == 'n':
		return &ScanError{Err: ErrNotObject, Offset: i}
	default:
		return s.expected(i, "an object")
	}
	for {
		end, opened, err := s.value(i)
		if err != nil {
			return err
		}
		if opened {
			i = end
			continue
		}
		next, err := s.next(end)
		if err != nil {
			return err
		}
		if s.depth == 0 {
			if next = skipSpace(s.raw, next); next < len(s.raw) {
				return syntaxError(next, "something follows the object")
			}
			return nil
		}
		i = next
	}
}

// value reads the value that begins at i. Of an array or object with something in
// it, it reads only as far as the first value inside, and says that it opened one.
func (s *scanner) value(i int) (end int, opened bool, err error) {
	switch c := s.at(i); c {
	case '"':
		end, _, err = s.quoted(i)
		return end, false, err
	case '{':
		if err := s.push(i, uint32(len(s.keys))); err != nil {
			return 0, false, err
		}
		first := skipSpace(s.raw, i+1)
		if s.at(first) == '}' {
			s.depth--
			return first + 1, false, nil
		}
		end, err = s.key(first, "a key or '}'")
		return end, true, err
	case '[':
		if err := s.push(i, arrayFrame); err != nil {
			return 0, false, err
		}
		first := skipSpace(s.raw, i+1)
		if s.at(first) == ']' {
			s.depth--
			return first + 1, false, nil
		}
		return first, true, nil
	case 't':
		end, err = s.literal(i, "true")
	case 'f':
		end, err = s.literal(i, "false")
	case 'n':
		end, err = s.literal(i, "null")
	default:
		if c != '-' && !isDigit(c) {
			return 0, false, s.expected(i, "a value")
		}
		end, err = s.number(i)
	}
	return end, false, err
}

// next goes on from the end of a value to the beginning of the one after it,
// closing what ends in between. At depth 0 the body's object is closed.
func (s *scanner) next(i int) (int, error) {
	for s.depth > 0 {
		if s.depth == 1 {
			s.keys[len(s.keys)-1].end = uint32(i)
		}
		i = skipSpace(s.raw, i)
		base := s.open[s.depth-1]
		switch c := s.at(i); {
		case c == ',' && base == arrayFrame:
			return skipSpace(s.raw, i+1), nil
		case c == ',':
			return s.key(skipSpace(s.raw, i+1), "a key")
		case c == ']' && base == arrayFrame:
			s.depth--
		case c == '}' && base != arrayFrame:
			if err := s.distinct(s.keys[base:]); err != nil {
				return 0, err
			}
			if s.depth--; s.depth > 0 {
				s.keys = s.keys[:base]
			}
		case base == arrayFrame:
			return 0, s.expected(i, "',' or ']'")
		default:
			return 0, s.expected(i, "',' or '}'")
		}
		i++
	}
	return i, nil
}

func (s *scanner) push(i int, frame uint32) error {
	if s.depth == MaxDepth {
		return &ScanError{Err: ErrTooDeep, Offset: i}
	}
	s.open[s.depth] = frame
	s.depth++
	return nil
}

// key reads a key and its colon and returns where the value begins.
func (s *scanner) key(i int, what string) (int, error) {
	if s.at(i) != '"' {
		return 0, s.expected(i, what)
	}
	end, escaped, err := s.quoted(i)
	if err != nil {
		return 0, err
	}
	hash, err := s.hashKey(i, end, escaped)
	if err != nil {
		return 0, err
	}
	colon := skipSpace(s.raw, end)
	if s.at(colon) != ':' {
		return 0, s.expected(colon, "':'")
	}
	value := skipSpace(s.raw, colon+1)
	if len(s.keys) == cap(s.keys) { // doubling: append's growth would allocate thrice as much
		s.keys = slices.Grow(s.keys, max(64, len(s.keys)))
	}
	s.keys = append(s.keys, member{
		hash: hash, escaped: escaped,
		start: uint32(i), keyEnd: uint32(end), value: uint32(value),
	})
	return value, nil
}

func (s *scanner) literal(i int, word string) (int, error) {
	for n := range len(word) {
		if s.at(i+n) != word[n] {
			return 0, s.expected(i+n, word)
		}
	}
	return i + len(word), nil
}

// number reads a number of any length by its grammar; its size is not judged.
func (s *scanner) number(i int) (int, error) {
	if s.at(i) == '-' {
		i++
	}
	if s.at(i) == '0' {
		i++
	} else if end := s.digits(i); end > i {
		i = end
	} else {
		return 0, s.expected(i, "a digit")
	}
	if s.at(i) == '.' {
		end := s.digits(i + 1)
		if end == i+1 {
			return 0, s.expected(end, "a digit")
		}
		i = end
	}
	if c := s.at(i); c == 'e' || c == 'E' {
		i++
		if c := s.at(i); c == '+' || c == '-' {
			i++
		}
		end := s.digits(i)
		if end == i {
			return 0, s.expected(end, "a digit")
		}
		i = end
	}
	return i, nil
}

func (s *scanner) digits(i int) int {
	for i < len(s.raw) && isDigit(s.raw[i]) {
		i++
	}
	return i
}

// at returns the byte at i, and past the end 0, which stands for nothing in JSON
// outside of an error.
func (s *scanner) at(i int) byte {
	if i < len(s.raw) {
		return s.raw[i]
	}
	return 0
}

func (s *scanner) expected(i int, what string) error {
	if i >= len(s.raw) {
		return syntaxError(len(s.raw), "the body ends in place of "+what)
	}
	return syntaxError(i, "expected "+what)
}

func isDigit(c byte) bool { return c-'0' < 10 }

func skipSpace(raw []byte, i int) int {
	for i < len(raw) {
		switch raw[i] {
		case ' ', '\n', '\r', '\t':
			i++
		default:
			return i
		}
	}
	return i
}
