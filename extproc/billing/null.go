package billing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// Int is a whole number that may be unknown; the zero Int is unknown, and null in
// JSON.
type Int struct {
	N     int64
	Known bool
}

// Known is the Int n.
func Known(n int64) Int { return Int{N: n, Known: true} }

// orNone is i, or unknown for 0.
func (i Int) orNone() Int {
	if i.N == 0 {
		return Int{}
	}
	return i
}

// MarshalJSON writes the number, or null.
func (i Int) MarshalJSON() ([]byte, error) {
	if !i.Known {
		return []byte("null"), nil
	}
	return strconv.AppendInt(nil, i.N, 10), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (i *Int) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		*i = Int{}
		return nil
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return fmt.Errorf("billing: %q is not a whole number or null", b)
	}
	*i = Known(n)
	return nil
}

// Text is a string that may be unknown: "" is unknown, and null in JSON.
type Text string

// MarshalJSON writes the string, or null.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}
