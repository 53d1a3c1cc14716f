package openai

import (
	"encoding/json"
	"testing"
)

// API-6: every error is {"error":{"message","type","param","code"}}.
func TestErrorJSON(t *testing.T) {
	// The example of the first seed.
	e := NewError(400, "provider_unknown_provider", "provider.only",
		"Unknown or unavailable provider id in provider.only: not-a-provider")
	const want = `{"error":{"message":"Unknown or unavailable provider id in provider.only: not-a-provider",` +
		`"type":"invalid_request_error","param":"provider.only","code":"provider_unknown_provider"}}`
	if got := string(e.JSON()); got != want {
		t.Errorf("got %s", got)
	}
	const nulls = `{"error":{"message":"","type":"server_error","param":null,"code":null}}`
	if got := string(NewError(500, "", "", "").JSON()); got != nulls {
		t.Errorf("got %s", got)
	}
	nasty := "\xff\"\\\x00\n\u2028</script>🙂"
	if b := (Error{nasty, nasty, nasty, nasty}).JSON(); !json.Valid(b) {
		t.Errorf("not JSON: %s", b)
	}
}

func TestTypeOf(t *testing.T) {
	for status, want := range map[int]string{
		400: TypeInvalidRequest, 401: TypeAuthentication, 403: TypePermission, 404: TypeInvalidRequest,
		405: TypeInvalidRequest, 413: TypeInvalidRequest, 422: TypeInvalidRequest, 429: TypeRateLimit,
		500: TypeServer, 502: TypeServer, 503: TypeServer, 504: TypeServer,
	} {
		if got := TypeOf(status); got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
	}
}
