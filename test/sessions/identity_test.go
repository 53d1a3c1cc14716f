package sessions

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// ID-1: a token that does not hold is 401; an API key in the same header is not a
// token.
func TestTokens(t *testing.T) {
	t.Parallel()
	s := startSite(t, "")
	other := newSigner(t)
	for _, tc := range []struct {
		name, token string
		status      int
	}{
		{"holds", s.signer.token(t, good("ann")), 200},
		{"expired", s.signer.token(t, good("ann").with("exp", time.Now().Add(-time.Hour).Unix())), 401},
		{"without expiry", s.signer.token(t, good("ann").with("exp", nil)), 401},
		{"not yet valid", s.signer.token(t, good("ann").with("nbf", time.Now().Add(time.Hour).Unix())), 401},
		{"another audience", s.signer.token(t, good("ann").with("aud", "others")), 401},
		{"another issuer", s.signer.token(t, good("ann").with("iss", "https://evil.example")), 401},
		{"another key", other.token(t, good("ann")), 401},
		{"unsigned", unsigned(t, good("ann")), 401},
		{"wrong algorithm", s.signer.confused(t, good("ann")), 401},
		{"nonsense with dots", "aaa.bbb.ccc", 401},
		{"an API key", "sk-1234567890", 200},
		{"an API key with a dot", "sk-1234.567890", 200},
	} {
		t.Run("ID-1 "+tc.name, func(t *testing.T) {
			a := s.chat(t, hello, bearer(tc.token)...)
			if a.status != tc.status {
				t.Fatalf("got %d, want %d\n%s", a.status, tc.status, a.body)
			}
			if tc.status == http.StatusUnauthorized && (a.code() != "invalid_token" || a.header.Get("x-request-id") == "") {
				t.Errorf("got %q, %v", a.code(), a.header)
			}
			if p := s.saved(t, bearer(tc.token)...); tc.status == 401 && p.status != 401 {
				t.Errorf("preferences: got %d", p.status)
			}
		})
	}
	for _, scheme := range []string{"bearer ", "BEARER ", "Bearer  "} { // RFC 9110: in any case
		token := scheme + s.signer.token(t, good("ann"))
		if p := s.saved(t, "authorization", token); p.status != 200 {
			t.Errorf("ID-1 %q: got %d\n%s", scheme, p.status, p.body)
		}
	}
	if e := s.Events(t, 3); len(e) != 3 {
		t.Errorf("BILL-1: %d events for 3 admitted requests", len(e))
	}
	if out := s.Output(); strings.Contains(out, "sk-1234") || strings.Contains(out, edgeSecret) {
		t.Error("SEC-2: a secret is in the log")
	}
}

// ID-1: trusted headers count only beside the right secret, and reach no provider.
func TestEdge(t *testing.T) {
	t.Parallel()
	s := startSite(t, "")
	for _, tc := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"the right secret", asEdge("ann"), 200},
		{"no secret", []string{"x-user-id", "ann"}, 401},
		{"the wrong secret", []string{"x-user-id", "ann", "x-edge-secret", "guess"}, 401},
		{"the secret twice", []string{"x-user-id", "ann", "x-edge-secret", "guess", "x-edge-secret", edgeSecret}, 401},
		{"the user twice", asEdge("ann", "x-user-id", "bob"), 401},
		{"a claim of Envoy's own", []string{"x-shunt-user", "ann"}, 401},
		{"an API key alone", bearer("sk-1"), 401},
		{"nobody", nil, 401},
	} {
		t.Run("PREF-1 "+tc.name, func(t *testing.T) {
			a := s.saved(t, tc.headers...)
			if a.status != tc.status || tc.status == 401 && a.code() != "session_required" {
				t.Errorf("got %d %s", a.status, a.body)
			}
			if a := s.chat(t, hello, tc.headers...); a.status != 200 {
				t.Errorf("a routed request: got %d %s", a.status, a.body)
			}
		})
	}
	for _, r := range s.providers["alpha"].Requests() {
		for _, h := range []string{"x-user-id", "x-session-id", "x-user-plan", "x-edge-secret", "x-shunt-user", "x-shunt-plan"} {
			if v := r.Header.Get(h); v != "" {
				t.Errorf("SEC-1: a provider got %s: %s", h, v)
			}
		}
		if got := r.Header.Get("authorization"); got != "Bearer key-alpha" {
			t.Errorf("FALL-2: a provider got authorization %q", got)
		}
	}
}

// BILL-3: a subscriber's default traffic is included, at list price; selecting is not.
func TestSubscription(t *testing.T) {
	t.Parallel()
	s := startSite(t, "")
	plan := asEdge("sue", "x-user-plan", "subscription")
	for _, tc := range []struct {
		name, body string
		headers    []string
		mode       string
		free       bool
	}{
		{"included", hello, plan, "subscription", true},
		{"paygo header", hello, append(plan, "x-billing-mode", "paygo"), "paygo", false},
		{"paygo body", strings.Replace(hello, `{`, `{"billing_mode":"paygo",`, 1), plan, "paygo", false},
		{"explicit", hello, append(plan, "x-provider", "beta"), "paygo", false},
		{"suffix", strings.Replace(hello, `"m"`, `"m:price"`, 1), plan, "paygo", false},
		{"caching is included", strings.Replace(hello, `{`, `{"caching":true,`, 1), plan, "subscription", true},
		{"another plan", hello, asEdge("fred", "x-user-plan", "free"), "paygo", false},
		{"token", hello, bearer(s.signer.token(t, good("sam").with("plan", "subscription"))), "subscription", true},
	} {
		t.Run("BILL-3 "+tc.name, func(t *testing.T) {
			a := s.chat(t, tc.body, tc.headers...)
			if a.status != 200 {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			d := s.Event(t, a.header.Get("x-request-id")).Data
			if d.BillingMode != tc.mode || (d.Amount == "0") != tc.free || d.ListAmount == "0" || d.ListAmount == "" {
				t.Errorf("got %s, amount %s, list %s", d.BillingMode, d.Amount, d.ListAmount)
			}
		})
	}
}
