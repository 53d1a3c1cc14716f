package policy

import (
	"bytes"

	"github.com/tidwall/gjson"
)

// readString returns the JSON string raw. ok is false where raw is absent or
// null: then nothing was named.
func readString(raw []byte, param string) (s string, ok bool, err *Error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return "", false, nil
	}
	if raw[0] != '"' {
		return "", false, refuse(CodeInvalidParameter, param, param+" must be a string")
	}
	return unquote(raw), true, nil
}

// unquote decodes a JSON string.
func unquote(raw []byte) string {
	if n := len(raw); n >= 2 && raw[n-1] == '"' && bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : n-1])
	}
	return gjson.ParseBytes(raw).Str
}

// readBool returns the JSON boolean raw; given is false where raw is absent.
func readBool(raw []byte, param string) (value, given bool, err *Error) {
	switch string(bytes.TrimSpace(raw)) {
	case "":
		return false, false, nil
	case "true":
		return true, true, nil
	case "false":
		return false, true, nil
	}
	return false, true, refuse(CodeInvalidParameter, param, param+" must be a boolean")
}
