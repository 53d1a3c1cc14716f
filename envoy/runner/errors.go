package runner

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// What callers branch on. All of them are faults of the environment (CMD-7).
var (
	// ErrNotFound: there is no Envoy to run. The error is a *NotFoundError.
	ErrNotFound = errors.New("no usable Envoy found")
	// ErrUnsupported: the Envoy that was named is too old. The error is an
	// *UnsupportedError.
	ErrUnsupported = errors.New("unsupported Envoy version")
	// ErrPortTaken: something else listens where Envoy should. The error is a
	// *BindError.
	ErrPortTaken = errors.New("address already in use")
	// ErrInUse: a living Runner has the same RunDir.
	ErrInUse = errors.New("run directory in use")
	// ErrGaveUp: Envoy died too often. The error is a *GaveUpError.
	ErrGaveUp = errors.New("gave up on Envoy, which keeps dying")
)

// Tried is one place where an Envoy was looked for, and why there is none.
type Tried struct {
	Place  string // "$ENVOY", "PATH", or a path
	Reason string
}

// NotFoundError says where an Envoy was looked for.
type NotFoundError struct {
	Tried []Tried
	Min   Version
}

// Error lists every place and what to do.
func (e *NotFoundError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v:", ErrNotFound)
	for _, t := range e.Tried {
		fmt.Fprintf(&b, " %s: %s;", t.Place, t.Reason)
	}
	fmt.Fprintf(&b, " install Envoy %v or newer, or name one with --envoy or $ENVOY, or run `make envoy` in shunt's source tree", e.Min)
	return b.String()
}

// Unwrap makes it an ErrNotFound.
func (e *NotFoundError) Unwrap() error { return ErrNotFound }

// UnsupportedError says which Envoy is too old.
type UnsupportedError struct {
	Path      string
	Have, Min Version
}

// Error names the file and both versions.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%v: %s is %v, at least %v is needed", ErrUnsupported, e.Path, e.Have, e.Min)
}

// Unwrap makes it an ErrUnsupported.
func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }

// BindError says that Envoy cannot listen somewhere.
type BindError struct {
	Address string // host:port, or a socket's path
	Reason  string // the system's words, lower case
}

// Error names the address and the reason.
func (e *BindError) Error() string {
	return fmt.Sprintf("cannot listen on %s: %s", e.Address, e.Reason)
}

// Is makes it an ErrPortTaken where the address is in use, but not where it is
// not this machine's or needs privileges.
func (e *BindError) Is(target error) bool {
	return target == ErrPortTaken && e.Reason == ErrPortTaken.Error()
}

// GaveUpError is the end after too many fast deaths.
type GaveUpError struct {
	Deaths int           // how many
	Within time.Duration // in how long
	Last   string        // how the last one ended: "exit status 1"
	Tail   []string      // Envoy's last words, oldest first
}

// Error says how often, how, and what Envoy said.
func (e *GaveUpError) Error() string {
	s := fmt.Sprintf("%v: %d times within %v, last with %s", ErrGaveUp, e.Deaths, e.Within, e.Last)
	if len(e.Tail) > 0 {
		s += "; it said: " + strings.Join(e.Tail, " | ")
	}
	return s
}

// Unwrap makes it an ErrGaveUp.
func (e *GaveUpError) Unwrap() error { return ErrGaveUp }
