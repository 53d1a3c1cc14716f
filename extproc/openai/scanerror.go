package openai

import (
	"errors"
	"strconv"
)

// What can be wrong with a body: what a ScanError unwraps to.
var (
	ErrSyntax       = errors.New("not valid JSON")
	ErrEncoding     = errors.New("not valid UTF-8")
	ErrNotObject    = errors.New("not a JSON object")
	ErrDuplicateKey = errors.New("ambiguous: a key stands twice in one object")
	ErrTooDeep      = errors.New("nested too deeply")
	ErrTooLarge     = errors.New("over 4 GiB")
)

// ScanError says what is wrong with a body, and where. Its text may be shown to
// the client: of the body it has the name of a duplicate top-level key, shortened
// and quoted, and nothing else.
type ScanError struct {
	Err    error  // one of the above
	Offset int    // of the byte at fault, from 0
	Key    string // the duplicate key, quoted, where it is a top-level one; otherwise ""
	detail string
}

// Error implements error.
func (e *ScanError) Error() string {
	at := " at byte " + strconv.Itoa(e.Offset)
	switch {
	case e.Key != "":
		return "ambiguous: key " + e.Key + " stands twice" + at
	case errors.Is(e.Err, ErrTooDeep):
		return "nested more than " + strconv.Itoa(MaxDepth) + " levels deep" + at
	case e.detail != "":
		return e.Err.Error() + ": " + e.detail + at
	}
	return e.Err.Error() + at
}

// Unwrap returns the kind of fault.
func (e *ScanError) Unwrap() error { return e.Err }

func syntaxError(offset int, detail string) error {
	return &ScanError{Err: ErrSyntax, Offset: offset, detail: detail}
}
