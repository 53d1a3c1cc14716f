package policy

import (
	"strconv"
	"unicode/utf8"
)

// Error is a refusal that the client can mend (API-6).
type Error struct {
	Status  int    // HTTP status
	Code    string // one of the Code constants
	Param   string // the input that is wrong: model, provider.only, X-Provider; may be ""
	Message string // valid text; never echoes a prompt or a key
}

// Error makes *Error an error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// The codes that Read and Decide answer with. All go with status 400, except
// CodeModelNotFound, which is 404.
const (
	CodeMissingModel           = "missing_model"                  // API-6
	CodeModelNotFound          = "model_not_found"                // API-6, REQ-2
	CodeInvalidJSON            = "invalid_json"                   // REQ-1, inside a provider object
	CodeInvalidParameter       = "invalid_parameter"              // REQ-7 and other single fields
	CodeInvalidProvider        = "invalid_provider_object"        // REQ-6
	CodeSuffixCombination      = "invalid_suffix_combination"     // REQ-4
	CodeSelectionUnsupported   = "provider_selection_unsupported" // REQ-4
	CodeProviderConflict       = "provider_conflict"              // REQ-5
	CodeUnknownProvider        = "provider_unknown_provider"      // REQ-5, SEL-2
	CodeProviderNotAvailable   = "provider_not_available"         // REQ-5, SEL-2, SEL-3, SEL-12
	CodeUnknownEngine          = "unknown_engine"                 // SEL-13
	CodeNoCacheCapableProvider = "no_cache_capable_provider"      // CACHE-1
	CodeNoFallbackAvailable    = "no_fallback_available"          // PREF-5
)

func refuse(code, param, message string) *Error {
	status := 400
	if code == CodeModelNotFound {
		status = 404
	}
	return &Error{Status: status, Code: code, Param: param, Message: message}
}

// maxQuoted bounds what a message repeats of a client's string, in bytes.
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
