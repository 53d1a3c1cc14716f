package openai

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// quoted reads the string whose opening quote is at i and returns the index
// after its closing one.
func (s *scanner) quoted(i int) (end int, escaped bool, err error) {
	raw := s.raw
	start := i + 1
	i = start
	high := uint64(0)
	for {
		n, seen := plain(raw[i:])
		i += n
		high |= seen
		// The byte at i is a special one, or one of the body's last eight.
		if i >= len(raw) {
			return 0, false, syntaxError(i, "the body ends inside a string")
		}
		switch c := raw[i]; {
		case c == '"':
			if high&highBits != 0 {
				err = s.checkUTF8(start, i)
			}
			return i + 1, escaped, err
		case c == '\\':
			escaped = true
			for i < len(raw) && raw[i] == '\\' { // escapes come in runs
				n := escapeLen(raw[i:])
				if n == 0 {
					return 0, false, syntaxError(i, "a string has an unknown escape")
				}
				i += n
			}
		case c < ' ':
			return 0, false, syntaxError(i, "a string has a control character")
		default:
			high |= uint64(c)
			i++
		}
	}
}

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// plain is the hot loop: most of a body is the inside of long strings. It returns
// how many bytes, in whole words, stand before the first that special marks, and
// the bits of all that it looked at.
func plain(b []byte) (n int, seen uint64) {
	rest := b
	for len(rest) >= 32 {
		w0, w1 := binary.LittleEndian.Uint64(rest), binary.LittleEndian.Uint64(rest[8:])
		w2, w3 := binary.LittleEndian.Uint64(rest[16:]), binary.LittleEndian.Uint64(rest[24:])
		if special(w0)|special(w1)|special(w2)|special(w3) != 0 {
			break
		}
		seen |= w0 | w1 | w2 | w3
		rest = rest[32:]
	}
	for len(rest) >= 8 {
		w := binary.LittleEndian.Uint64(rest)
		seen |= w
		if m := special(w); m != 0 {
			return len(b) - len(rest) + bits.TrailingZeros64(m)/8, seen
		}
		rest = rest[8:]
	}
	return len(b) - len(rest), seen
}

// special marks, in each byte's highest bit, the bytes of w that a string cannot
// hold as they are: quote, backslash, control characters. With bit 1 flipped a quote
// is 0x20, just above the control characters, so one comparison finds both. The
// lowest mark is exact; a borrow can put wrong ones only above it.
func special(w uint64) uint64 {
	return (((w ^ lowBits*2) - lowBits*0x21) | ((w ^ lowBits*'\\') - lowBits)) &^ w & highBits
}

func (s *scanner) checkUTF8(start, end int) error {
	text := s.raw[start:end]
	if utf8.Valid(text) {
		return nil
	}
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n == 1 {
			break
		}
		text = text[n:]
	}
	return &ScanError{Err: ErrEncoding, Offset: end - len(text)}
}

// escapeLen is the length of the escape that b begins with, 0 if it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads the escape \uXXXX.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	r := rune(0)
	for _, c := range b[2:6] {
		switch {
		case isDigit(c):
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendUnescaped appends what the inside of a checked string means. Half a
// surrogate pair becomes U+FFFD, and whole is then false.
func appendUnescaped(dst, text []byte) (out []byte, whole bool) {
	whole = true
	for i := 0; i < len(text); {
		if text[i] != '\\' {
			dst = append(dst, text[i])
			i++
			continue
		}
		if r, ok := hex4(text[i:]); ok {
			i += 6
			if utf16.IsSurrogate(r) {
				low, _ := hex4(text[i:])
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				} else {
					whole = false
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, unescaped(text[i+1]))
		i += 2
	}
	return dst, whole
}

func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// AppendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r < ' ':
			const digits = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// bounded quotes a client's text for a message: printable, and short.
func bounded(text []byte) string {
	const limit = 64
	if len(text) <= limit {
		return strconv.QuoteToASCII(string(text))
	}
	return strconv.QuoteToASCII(string(text[:limit])) + "…"
}
