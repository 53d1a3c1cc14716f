package openai

import "net/http"

// The values of an error's type that OpenAI's clients know.
const (
	TypeInvalidRequest = "invalid_request_error"
	TypeAuthentication = "authentication_error"
	TypePermission     = "permission_error"
	TypeRateLimit      = "rate_limit_error"
	TypeServer         = "server_error"
)

// The codes of what shunt answers before and beside a selection (API-1, API-6, PREF-1).
// Those of a request that cannot be read or decided are policy's.
const (
	CodeOverloaded         = "overloaded"
	CodeAllProvidersFailed = "all_providers_failed"
	CodeDeadlineExceeded   = "deadline_exceeded" // routing.deadline
	CodeNotFound           = "not_found"
	CodeMethodNotSupported = "method_not_supported"
	CodeSessionRequired    = "session_required"
)

// Error is the body of an error answer (API-6). An empty Param or Code is null.
type Error struct {
	Message string
	Type    string
	Param   string
	Code    string
}

// NewError is an Error with the type that belongs to an HTTP status.
func NewError(status int, code, param, message string) Error {
	return Error{Message: message, Type: TypeOf(status), Param: param, Code: code}
}

// TypeOf is the error type for an HTTP status.
func TypeOf(status int) string {
	switch {
	case status >= 500:
		return TypeServer
	case status == http.StatusUnauthorized:
		return TypeAuthentication
	case status == http.StatusForbidden:
		return TypePermission
	case status == http.StatusTooManyRequests:
		return TypeRateLimit
	}
	return TypeInvalidRequest
}

// JSON returns the answer's body. It is valid JSON whatever the fields hold.
func (e Error) JSON() []byte {
	b := make([]byte, 0, 64+len(e.Message)+len(e.Type)+len(e.Param)+len(e.Code))
	b = append(b, `{"error":{"message":`...)
	b = AppendString(b, e.Message)
	b = append(b, `,"type":`...)
	b = AppendString(b, e.Type)
	b = append(b, `,"param":`...)
	b = appendStringOrNull(b, e.Param)
	b = append(b, `,"code":`...)
	b = appendStringOrNull(b, e.Code)
	return append(b, "}}"...)
}

func appendStringOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return AppendString(dst, s)
}
