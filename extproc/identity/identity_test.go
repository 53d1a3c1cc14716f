package identity

import (
	"testing"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

func TestRead(t *testing.T) {
	id := &catalog.Identity{APIKeyHeader: "authorization", Trusted: &catalog.TrustedHeaders{
		User: "x-user-id", Session: "x-session-id", Plan: "x-user-plan", SecretHeader: "x-edge-secret",
	}}
	r, err := NewReader(id, func(catalog.Secret) (string, error) { return "s3cret", nil })
	if err != nil {
		t.Fatal(err)
	}
	type headers map[string]string
	for _, tc := range []struct {
		name          string
		headers       headers
		user, session string
		key           string
		subscriber    bool
	}{
		{"nobody", headers{}, "", "", "", false},
		{"API key", headers{"authorization": "Bearer sk-1"}, "", "", "sk-1", false},
		{"API key, odd scheme", headers{"authorization": "bEaReR  sk-1 "}, "", "", "sk-1", false},
		{"ID-1 trusted headers beside the secret", headers{"x-user-id": "u", "x-session-id": "s", "x-user-plan": "subscription", "x-edge-secret": "s3cret"}, "u", "s", "", true},
		{"ID-1 no secret", headers{"x-user-id": "u", "x-user-plan": "subscription"}, "", "", "", false},
		{"ID-1 wrong secret", headers{"x-user-id": "u", "x-edge-secret": "s3creT"}, "", "", "", false},
		{"ID-1 secret's beginning", headers{"x-user-id": "u", "x-edge-secret": "s3cre"}, "", "", "", false},
		{"ID-1 another plan", headers{"x-user-id": "u", "x-user-plan": "free", "x-edge-secret": "s3cret"}, "u", "", "", false},
		{"verified token", headers{names.HeaderUser: "jwt-user", names.HeaderPlan: "subscription"}, "jwt-user", "", "", true},
		{"a verified token outranks the edge", headers{names.HeaderUser: "jwt-user", "x-user-id": "u", "x-user-plan": "subscription", "x-edge-secret": "s3cret"}, "jwt-user", "", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := r.Read(func(name string) []byte {
				if v, ok := tc.headers[name]; ok {
					return []byte(v)
				}
				return nil
			})
			if c.User != tc.user || c.Session != tc.session || string(c.APIKey) != tc.key || c.Subscriber != tc.subscriber {
				t.Errorf("got %+v", c)
			}
			if c.Authenticated() != (tc.user != "") {
				t.Errorf("authenticated: %v", c.Authenticated())
			}
		})
	}
}

// Without an edge configured, its headers mean nothing, secret or not.
func TestNoEdge(t *testing.T) {
	r, err := NewReader(&catalog.Identity{APIKeyHeader: "x-api-key"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := r.Read(func(name string) []byte {
		if name == "x-api-key" {
			return []byte("k")
		}
		return nil
	})
	if c.User != "" || string(c.APIKey) != "k" {
		t.Errorf("got %+v", c)
	}
}
