package billing

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// reader takes a known JSON text apart from its beginning. The first error stays,
// and everything read after it is empty.
type reader struct {
	rest string
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
		r.rest = ""
	}
}

// has takes text off, if it comes next.
func (r *reader) has(text string) (ok bool) {
	r.rest, ok = strings.CutPrefix(r.rest, text)
	return ok
}

func (r *reader) must(text string) {
	if !r.has(text) {
		r.fail("%q where %q should be", clip(r.rest), text)
	}
}

// member is the string behind key, "" if the key does not come next.
func (r *reader) member(key string) string {
	if !r.has(key) {
		return ""
	}
	return r.text()
}

func (r *reader) text() string {
	if !r.has(`"`) {
		r.fail("%q where a string should be", clip(r.rest))
		return ""
	}
	n := strings.IndexAny(r.rest, `"\`)
	if n >= 0 && r.rest[n] == '"' {
		s := r.rest[:n]
		r.rest = r.rest[n+1:]
		return s
	}
	return r.escaped()
}

// escaped reads a string that has a backslash in it, up to its closing quote.
func (r *reader) escaped() string {
	for i := 0; i < len(r.rest); i++ {
		switch r.rest[i] {
		case '\\':
			i++
		case '"':
			var s string
			if err := json.Unmarshal([]byte(`"`+r.rest[:i+1]), &s); err != nil {
				r.fail("%w", err)
				return ""
			}
			r.rest = r.rest[i+1:]
			return s
		}
	}
	r.fail("a string without an end")
	return ""
}

func (r *reader) number() int64 {
	n := 0
	for n < len(r.rest) && (r.rest[n] == '-' || r.rest[n] >= '0' && r.rest[n] <= '9') {
		n++
	}
	v, err := strconv.ParseInt(r.rest[:n], 10, 64)
	if err != nil {
		r.fail("%q where a number should be", clip(r.rest))
		return 0
	}
	r.rest = r.rest[n:]
	return v
}
