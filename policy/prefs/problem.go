package prefs

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Problem is a PATCH that is refused (PREF-3). It is an error, so that a change
// can return it through a Store's Update.
type Problem struct {
	Status  int    // HTTP status
	Code    string // one of the Code constants
	Param   string // the field that is wrong: modelOverrides["kimi"].preferredProviders[1]; "": the body
	Message string // valid text; what it repeats of the client's is quoted and bounded
}

// Error makes *Problem an error.
func (p *Problem) Error() string { return p.Code + ": " + p.Message }

// The codes of a Problem.
const (
	CodeInvalidInput      = "INVALID_INPUT"      // 422: malformed, unknown name, too much to keep
	CodeInvalidExclusions = "INVALID_EXCLUSIONS" // 400: a model would have no provider left
	CodeTooLarge          = "request_too_large"  // 413: the body is over MaxBody (API-6)
)

func invalid(param, format string, args ...any) *Problem {
	message := fmt.Sprintf(format, args...)
	if param != "" {
		message = param + " " + message
	}
	return &Problem{Status: 422, Code: CodeInvalidInput, Param: param, Message: message}
}

// maxQuoted bounds what is repeated of one string of a client's, in bytes.
const maxQuoted = 64

// quote makes a client's string fit for a message: quoted, printable ASCII,
// bounded.
func quote(s string) string {
	if len(s) <= maxQuoted {
		return strconv.QuoteToASCII(s)
	}
	cut := maxQuoted
	for cut > maxQuoted-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.QuoteToASCII(s[:cut]) + "..."
}
