package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf16"
)

// respell writes the escapes that JSON has and the YAML parser lacks in another way:
// \/, and the pairs of surrogates that stand for one character. Behind a string that
// became shorter there are spaces, so that all else keeps its position. false: data is
// not JSON.
func respell(data []byte) ([]byte, bool) {
	if !json.Valid(data) {
		return nil, false
	}
	out := make([]byte, 0, len(data))
	inside, saved := false, 0
	for i := 0; i < len(data); {
		n := 1
		switch c := data[i]; {
		case c == '"':
			out = append(out, c)
			if inside = !inside; !inside {
				out = append(out, bytes.Repeat([]byte{' '}, saved)...)
				saved = 0
			}
		case c == '\\': // in valid JSON only inside a string, and never its last byte
			var short []byte
			short, n = escape(data[i:])
			out = append(out, short...)
			saved += n - len(short)
		default:
			out = append(out, c)
		}
		i += n
	}
	return out, true
}

// escape returns what YAML takes for the escape that s begins with, which is no longer,
// and the escape's length.
func escape(s []byte) (short []byte, n int) {
	if s[1] == '/' {
		return s[1:2], 2
	}
	if len(s) > 12 && s[1] == 'u' && s[6] == '\\' && s[7] == 'u' {
		if r := utf16.DecodeRune(unit(s[2:6]), unit(s[8:12])); r != unicode.ReplacementChar {
			return fmt.Appendf(nil, `\U%08x`, r), 12
		}
	}
	return s[:2], 2
}

// unit is a UTF-16 unit in four hex digits; 0, which is no surrogate, for what is none.
func unit(hex []byte) rune {
	u, err := strconv.ParseUint(string(hex), 16, 16)
	if err != nil {
		return 0
	}
	return rune(u)
}
