package e2e

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// internal are headers that a client has no business sending. Each would change
// something if it were believed.
var internal = []string{
	"x-shunt-route", "chat/1m0s",
	"x-shunt-timed", "p1",
	"x-shunt-outcome", "timeout",
	"x-shunt-anything", "1",
	"shunt-explain", "1",
	"x-envoy-max-retries", "0",
	"x-envoy-retry-on", "retriable-4xx",
	"x-envoy-upstream-rq-timeout-ms", "1",
	"x-envoy-upstream-rq-per-try-timeout-ms", "1",
	"x-envoy-upstream-stream-duration-ms", "1",
	"x-envoy-attempt-count", "7",
	"x-envoy-decorator-operation", "x",
	"x-envoy-force-trace", "1",
	"x-envoy-internal", "true",
	"x-envoy-original-path", "/elsewhere",
	"x-envoy-hedge-on-per-try-timeout", "true",
	"x-request-id", "00000000-0000-4000-8000-000000000000",
}

// of the client's own, which no provider gets.
var private = []string{
	"authorization", "Bearer sk-client", "proxy-authorization", "Basic eA==", "cookie", "session=1",
	"x-forwarded-for", "203.0.113.9", "x-forwarded-host", "evil.example", "x-forwarded-proto", "https",
	"x-forwarded-port", "1", "x-forwarded-client-cert", "x", "x-forwarded-user", "me", "x-real-ip", "203.0.113.9",
	"forwarded", "for=203.0.113.9", "accept-encoding", "gzip, br",
	"x-api-key", "sk-other", "x-variant-id", "", "x-billing-mode", "paygo", "via", "1.1 proxy", "true-client-ip", "203.0.113.9", "cf-connecting-ip", "203.0.113.9",
}

// SEC-1 and FALL-2: no provider of a chain sees the client's secrets, another
// provider's, or anything internal.
func TestProviderSees(t *testing.T) {
	t.Parallel()
	allowed := []string{"Accept", "Content-Length", "Content-Type", "User-Agent", "X-Request-Id", "Openai-Beta", "Authorization"}
	for _, tc := range []struct{ name, slug, more string }{
		{"FALL-2 the first attempt", "p0", ""},
		{"FALL-2 the second attempt", "p1", ""},
		{"FALL-2 a keyless provider after keyed ones", "p2", ""},
		{"FALL-2 a keyed provider after a keyless one", "p3", ""},
		{"FALL-2 a keyless provider first", "p2", `,"provider":{"order":["p2","p3"]}`},
		{"FALL-2 a keyed one after a keyless first", "p3", `,"provider":{"order":["p2","p3"]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.fail(503, tc.slug)
			headers := slices.DeleteFunc(slices.Concat(internal, private, []string{"openai-beta", "x", "x-provider", ""}), func(s string) bool { return false })
			a := p.chat(tc.more, headers...)
			if a.Status != 200 || a.Provider() != tc.slug {
				t.Fatalf("got %d from %s after %s\n%s", a.Status, a.Provider(), a.Attempts(), a.Body)
			}
			for _, f := range p.fakes {
				for _, s := range p.seen(f.slug) {
					for name := range s.Header {
						if !slices.Contains(allowed, name) {
							t.Errorf("SEC-1: %s saw %s: %q", f.slug, name, s.Header[name])
						}
					}
					want := []string{"Bearer " + f.key}
					if f.key == "" {
						want = nil
					}
					if got := s.Header["Authorization"]; !slices.Equal(got, want) {
						t.Errorf("FALL-2: %s got authorization %q, want %q", f.slug, got, want)
					}
					if got := s.Header.Get("x-request-id"); got != "" && got != a.ID() {
						t.Errorf("BILL-1: %s got x-request-id %q, the answer has %q", f.slug, got, a.ID())
					}
				}
			}
			if a.ID() == "00000000-0000-4000-8000-000000000000" {
				t.Error("BILL-1: the request's id was taken from the client")
			}
			if e := p.event(a); e.ID != a.ID() {
				t.Errorf("BILL-1: the event's id is %s, the answer's %s", e.ID, a.ID())
			}
		})
	}
}

// SEC-1: what a provider says to the operator, or claims, does not reach clients.
func TestClientSees(t *testing.T) {
	t.Parallel()
	theirs := []string{
		"set-cookie", "a=b", "x-envoy-upstream-service-time", "3", "x-envoy-attempt-count", "9", "x-envoy-overloaded", "true",
		"x-shunt-outcome", "reset", "x-shunt-route", "chat", "x-shunt-explain", "fake", "openai-organization", "org-secret", "openai-project", "proj-secret",
		"x-provider", "liar", "x-attempts", "99", "x-request-id", "theirs", "alt-svc", `h3=":443"`,
	}
	for _, tc := range []struct {
		name   string
		status int
		h      http.HandlerFunc
	}{
		{"SEC-1 200", 200, reply(200, "application/json", `{"id":"x"}`, theirs...)},
		{"SEC-1 stream", 200, reply(200, "text/event-stream", "data: {\"id\":\"x\"}\n\ndata: [DONE]\n\n", theirs...)},
		{"SEC-1 400", 400, status(400, theirs...)},
		{"SEC-1 429", 429, status(429, append(theirs, "retry-after", "7")...)},
		{"SEC-1 500", 500, status(500, theirs...)},
		{"SEC-1 401", 502, status(401, append(theirs, "www-authenticate", `Bearer realm="org-secret"`)...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.on("p0", tc.h)
			a := p.chat(`,"provider":"p0"`)
			a.want(t, tc.status, "p0", 1)
			for _, name := range slices.Sorted(maps.Keys(a.Header)) {
				switch n := strings.ToLower(name); {
				case n == "x-provider", n == "x-attempts", n == "x-request-id":
					if len(a.Header[name]) != 1 {
						t.Errorf("FALL-4: %s: %q", name, a.Header[name])
					}
				case strings.HasPrefix(n, "x-envoy-"), strings.HasPrefix(n, "x-shunt-"), strings.HasPrefix(n, "openai-"),
					n == "set-cookie", n == "alt-svc", n == "www-authenticate":
					t.Errorf("SEC-1: the client saw %s: %q", name, a.Header[name])
				}
			}
			if a.ID() == "theirs" {
				t.Error("BILL-1: x-request-id is the provider's")
			}
			if tc.status == 429 && a.Header.Get("retry-after") != "7" {
				t.Errorf("API-6: retry-after is %q, want the provider's 7", a.Header.Get("retry-after"))
			}
		})
	}
}

// SEC-1: internal headers change nothing, on any kind of path.
func TestInternalHeadersHaveNoEffect(t *testing.T) {
	t.Parallel()
	l, err := sharedLab()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, method, path string
		status             int
	}{
		{"SEC-1 models", "GET", "/v1/models", 200},
		{"SEC-1 engines", "GET", "/v1/engines", 200},
		{"SEC-1 unknown path", "GET", "/nowhere", 404},
		{"SEC-1 unknown path by POST", "POST", "/v2/chat/completions", 404},
		{"SEC-1 refused", "POST", chatPath, 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for i := 0; i < len(internal); i += 2 { // alone, since one could hide another
				req := newPost(t, l.URL+tc.path, "{", internal[i:i+2]...)
				if req.Method = tc.method; tc.method == "GET" {
					req.Body, req.ContentLength = nil, 0
				}
				a := do(t, req)
				if a.Status != tc.status {
					t.Errorf("%s: got %d, want %d\n%s", internal[i], a.Status, tc.status, clip(a.Body))
				}
				for name := range a.Header {
					if n := strings.ToLower(name); strings.HasPrefix(n, "x-envoy-") || strings.HasPrefix(n, "x-shunt-") {
						t.Errorf("%s: the client saw %s: %q", internal[i], name, a.Header[name])
					}
				}
				if a.ID() == "" || a.ID() == "00000000-0000-4000-8000-000000000000" {
					t.Errorf("%s: x-request-id %q", internal[i], a.ID())
				}
			}
		})
	}
	t.Run("SEC-1 routed", func(t *testing.T) {
		t.Parallel()
		for i := 0; i < len(internal); i += 2 {
			p := newProbe(t)
			p.fail(503, "p2")
			p.chat("", internal[i:i+2]...).want(t, 200, "p2", 3)
		}
	})
}
