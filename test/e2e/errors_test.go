package e2e

import (
	"encoding/json"
	"slices"
	"testing"
)

// wantError checks an error in the API's shape (API-6), and FALL-4's headers on it.
func (a answer) wantError(t testing.TB, status int, code, param string) {
	t.Helper()
	var body struct {
		Error *struct {
			Message *string `json:"message"`
			Type    *string `json:"type"`
			Param   *string `json:"param"`
			Code    *string `json:"code"`
		} `json:"error"`
	}
	var loose map[string]map[string]any
	err := json.Unmarshal([]byte(a.Body), &body)
	if err != nil || json.Unmarshal([]byte(a.Body), &loose) != nil || body.Error == nil || len(loose) != 1 {
		t.Fatalf("API-6: %d is not in the API's shape: %v\n%q", a.Status, err, clip(a.Body))
	}
	e := body.Error
	keys := loose["error"]
	for _, k := range []string{"message", "type", "param", "code"} {
		if _, ok := keys[k]; !ok {
			t.Errorf("API-6: no %s in %s", k, a.Body)
		}
	}
	if e.Message == nil || *e.Message == "" || e.Type == nil || e.Code == nil {
		t.Fatalf("API-6: %s", a.Body)
	}
	gotParam := ""
	if e.Param != nil {
		gotParam = *e.Param
	}
	if a.Status != status || *e.Code != code || gotParam != param {
		t.Errorf("got %d %s (%q), want %d %s (%q)\n%s", a.Status, *e.Code, gotParam, status, code, param, a.Body)
	}
	types := []string{"invalid_request_error", "authentication_error", "permission_error", "rate_limit_error"}
	if status >= 500 {
		types = []string{"server_error"}
	}
	if !slices.Contains(types, *e.Type) {
		t.Errorf("API-6: type %q of a %d", *e.Type, status)
	}
	if got := a.Header.Get("content-type"); got != "application/json" {
		t.Errorf("API-6: content-type %q", got)
	}
	if a.ID() == "" || a.Attempts() == "" {
		t.Errorf("FALL-4: x-request-id %q, x-attempts %q on a %d", a.ID(), a.Attempts(), a.Status)
	}
}
