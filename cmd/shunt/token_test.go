package main

import (
	"net/http/httptest"
	"testing"

	"github.com/shunt-gateway/shunt/catalog"
)

// SEC-3: a scheme's case says nothing (RFC 9110, 11.1); a token without one is none.
func TestMayAdmin(t *testing.T) {
	t.Setenv("TEST_ADMIN_TOKEN", "s3cret")
	c, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Data: []byte("admin: 0.0.0.0:1\nadmin_token: ${TEST_ADMIN_TOKEN}\n" + goodConfig), Dir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	a := &app{catalog: c}
	for value, want := range map[string]bool{
		"Bearer s3cret": true, "bearer s3cret": true, "BEARER  s3cret ": true,
		"": false, "s3cret": false, "Bearer": false, "Bearer s3cre": false, "Basic s3cret": false, "Bearer s3cret x": false,
	} {
		r := httptest.NewRequest("GET", "/readyz", nil)
		r.Header.Set("authorization", value)
		if got := a.mayAdmin(r); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
