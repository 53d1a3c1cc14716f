package sessions

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

// cachingBody asks for a provider that caches; the first message makes the
// conversation, the last does not.
func cachingBody(system, first, last, more string) string {
	return fmt.Sprintf(`{"model":"m","caching":true,%s"messages":[{"role":"system","content":%q},{"role":"user","content":%q},`+
		`{"role":"assistant","content":"x"},{"role":"user","content":%q}]}`, more, system, first, last)
}

// CACHE-2, CACHE-4: who served a conversation once serves it again, although another
// would be cheaper.
func TestSticky(t *testing.T) {
	t.Parallel()
	s := startSite(t, "")
	key := bearer("sk-sticky")
	// alpha is the cheapest and fails once, so beta answers and is remembered.
	s.providers["alpha"].Next(demo.Behaviour{Fail: &demo.Failure{Status: http.StatusServiceUnavailable}})
	a := s.chat(t, cachingBody("sys", "first", "1", ""), key...)
	if a.header.Get("x-provider") != "beta" {
		t.Fatalf("got %d from %s", a.status, a.header.Get("x-provider"))
	}
	s.Event(t, a.header.Get("x-request-id")) // it is recorded when it is settled
	for _, tc := range []struct {
		name, body, provider string
		headers              []string
	}{
		{"CACHE-2 the last message does not matter", cachingBody("sys", "first", "another", ""), "beta", key},
		{"CACHE-2 nor do other fields", cachingBody("sys", "first", "2", `"temperature":1,`), "beta", key},
		{"CACHE-2 another first message", cachingBody("sys", "other", "2", ""), "alpha", key},
		{"CACHE-2 another system message", cachingBody("sys2", "first", "2", ""), "alpha", key},
		{"CACHE-2 tools", cachingBody("sys", "first", "2", `"tools":[],`), "alpha", key},
		{"CACHE-2 another caller", cachingBody("sys", "first", "2", ""), "alpha", bearer("sk-other")},
		{"CACHE-2 stickyprovider false", cachingBody("sys", "first", "2", `"stickyprovider":false,`), "alpha", key},
		{"CACHE-2 stickyProvider false", cachingBody("sys", "first", "2", `"stickyProvider":false,`), "alpha", key},
		{"not asked for caching", strings.Replace(cachingBody("sys", "first", "2", ""), `"caching":true,`, ``, 1), "alpha", key},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := s.chat(t, tc.body, tc.headers...)
			if a.header.Get("x-provider") != tc.provider {
				t.Errorf("got %d from %s, want %s\n%s", a.status, a.header.Get("x-provider"), tc.provider, a.body)
			}
		})
	}
}

// CACHE-4: a reload changes how long a conversation is remembered, also one that is
// remembered already.
func TestStickyTTLReloads(t *testing.T) {
	t.Parallel()
	s := startSite(t, "")
	key := bearer("sk-reload")
	s.providers["alpha"].Next(demo.Behaviour{Fail: &demo.Failure{Status: http.StatusServiceUnavailable}})
	a := s.chat(t, cachingBody("sys", "first", "1", ""), key...)
	s.Event(t, a.header.Get("x-request-id"))
	if again := s.chat(t, cachingBody("sys", "first", "2", ""), key...); again.header.Get("x-provider") != "beta" {
		t.Fatalf("got %d from %s", again.status, again.header.Get("x-provider"))
	}
	s.Rewrite(t, strings.Replace(s.config, "routing: {", "routing: {sticky_ttl: 1ms, ", 1))
	harness.Eventually(t, "the conversation is forgotten", func() error {
		a := s.chat(t, cachingBody("sys", "first", "3", ""), key...)
		if p := a.header.Get("x-provider"); p != "alpha" {
			return fmt.Errorf("%d from %s", a.status, p)
		}
		return nil
	})
}
