package sessions

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
)

// saved asks for what a user has saved. shunt waits a tenth of a second for NATS to say
// that of a user who is not in memory: where a busy machine takes longer, it is asked
// again.
func (s *site) saved(t *testing.T, headers ...string) (a answer) {
	t.Helper()
	harness.Eventually(t, "NATS says what is saved", func() error {
		if a = s.call(t, http.MethodGet, preferencesPath, "", headers...); a.status == http.StatusServiceUnavailable {
			return errors.New(a.body)
		}
		return nil
	})
	return a
}

func (s *site) preferences(t *testing.T, method, body string, headers ...string) (a answer, doc map[string]any) {
	t.Helper()
	if method == http.MethodGet {
		a = s.saved(t, headers...)
	} else {
		a = s.call(t, method, preferencesPath, body, headers...)
	}
	if a.status == http.StatusOK {
		if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
			t.Fatalf("%s: %v", a.body, err)
		}
	}
	return a, doc
}

// served sends a request and says who answered it and how it was billed.
func (s *site) served(t *testing.T, body string, headers ...string) (provider, kind string) {
	t.Helper()
	a := s.chat(t, body, headers...)
	if a.status != http.StatusOK {
		return "", a.code()
	}
	e := s.Event(t, a.header.Get("x-request-id"))
	return a.header.Get("x-provider"), e.Data.Decision.Kind
}

// PREF-2, PREF-5, SEL-1: what is saved applies to the user's later requests, until
// the request says otherwise or the user resets it.
func TestPreferences(t *testing.T) {
	t.Parallel()
	s := startSite(t, "")
	ann := asEdge("ann")
	_, doc := s.preferences(t, http.MethodGet, "", ann...)
	want := map[string]any{
		"preferredProviders": []any{}, "excludedProviders": []any{}, "enableFallback": true, "modelOverrides": map[string]any{},
		"availableProviders": []any{"alpha", "beta", "gamma"},
	}
	if !reflect.DeepEqual(doc, want) {
		t.Errorf("PREF-2 nothing saved:\n got %v\nwant %v", doc, want)
	}
	steps := []struct {
		name, patch, body string
		provider, kind    string
	}{
		{"PREF-5 preferred", `{"preferredProviders":["gamma"]}`, hello, "gamma", "preference"},
		{"SEL-1 the request wins", ``, strings.Replace(hello, `"m"`, `"m:beta"`, 1), "beta", "explicit"},
		{"SEL-1 sort auto suppresses", ``, strings.Replace(hello, `{`, `{"provider":{"sort":"auto"},`, 1), "alpha", "default"},
		{"PREF-2 per model", `{"modelOverrides":{"m":{"preferredProviders":["beta"]}}}`, hello, "beta", "preference"},
		{"PREF-5 excluded", `{"preferredProviders":[],"modelOverrides":{"m":null},"excludedProviders":["alpha"]}`, hello, "beta", "default"},
		{"PREF-5 excluded, but named", ``, strings.Replace(hello, `"m"`, `"m:alpha"`, 1), "alpha", "explicit"},
		{"PREF-5 no fallback", `{"preferredProviders":["gamma"],"enableFallback":false}`, hello, "gamma", "preference"},
		{"PREF-5 no fallback, none available", `{"preferredProviders":["alpha"],"excludedProviders":[]}`, strings.Replace(hello, `"m"`, `"one"`, 1), "", "no_fallback_available"},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			if step.patch != "" {
				if a, _ := s.preferences(t, http.MethodPatch, step.patch, ann...); a.status != http.StatusOK {
					t.Fatalf("PATCH: %d %s", a.status, a.body)
				}
			}
			if provider, kind := s.served(t, step.body, ann...); provider != step.provider || kind != step.kind {
				t.Errorf("got %s %s, want %s %s", provider, kind, step.provider, step.kind)
			}
			if provider, kind := s.served(t, hello, asEdge("bob")...); provider != "alpha" || kind != "default" {
				t.Errorf("another user's request: %s %s", provider, kind)
			}
		})
	}
	if a, _ := s.preferences(t, http.MethodDelete, "", ann...); a.status != http.StatusOK {
		t.Errorf("DELETE: %d %s", a.status, a.body)
	}
	if provider, kind := s.served(t, hello, ann...); provider != "alpha" || kind != "default" {
		t.Errorf("after DELETE: %s %s", provider, kind)
	}
}

// PREF-2: a change that is wanted only of what its caller has read is never made of
// something else.
func TestPreferencesOnCondition(t *testing.T) {
	t.Parallel()
	s := startSite(t, "")
	tag := func(headers ...string) string {
		t.Helper()
		a, _ := s.preferences(t, http.MethodGet, "", headers...)
		return a.header.Get("etag")
	}
	ann := asEdge("ann")
	read := tag(ann...)
	a, doc := s.preferences(t, http.MethodPatch, `{"preferredProviders":["gamma"]}`, append(ann, "if-match", read)...)
	if a.status != http.StatusOK || a.header.Get("etag") == read || a.header.Get("etag") != tag(ann...) {
		t.Fatalf("PATCH of what was read: %d, etag %q after %q", a.status, a.header.Get("etag"), read)
	}
	for _, method := range []string{http.MethodPatch, http.MethodDelete} {
		for _, stale := range []string{read, `"other"`, "W/" + a.header.Get("etag"), "", tag(asEdge("bob")...)} {
			late, _ := s.preferences(t, method, `{"preferredProviders":["beta"]}`, append(ann, "if-match", stale)...)
			if late.status != http.StatusPreconditionFailed || late.code() != "precondition_failed" {
				t.Errorf("%s with if-match %q: %d %s", method, stale, late.status, late.body)
			}
		}
	}
	if _, now := s.preferences(t, http.MethodGet, "", ann...); !reflect.DeepEqual(now, doc) {
		t.Errorf("a refused change was made:\n got %v\nwant %v", now, doc)
	}
	for _, good := range []string{`"other", ` + tag(ann...), "*"} {
		if a, _ := s.preferences(t, http.MethodDelete, "", append(ann, "if-match", good)...); a.status != http.StatusOK || a.header.Get("etag") != read {
			t.Errorf("DELETE with if-match %s: %d %s", good, a.status, a.body)
		}
	}
}

// PREF-4: a subscriber's included traffic is routed by preferences only if it is
// pay-as-you-go.
func TestPreferencesOfSubscribers(t *testing.T) {
	t.Parallel()
	s := startSite(t, "")
	sue := asEdge("sue", "x-user-plan", "subscription")
	s.preferences(t, http.MethodPatch, `{"preferredProviders":["gamma"]}`, sue...)
	if provider, kind := s.served(t, hello, sue...); provider != "alpha" || kind != "default" {
		t.Errorf("PREF-4 subscription: %s %s", provider, kind)
	}
	if provider, kind := s.served(t, hello, append(sue, "x-billing-mode", "paygo")...); provider != "gamma" || kind != "preference" {
		t.Errorf("PREF-4 paygo: %s %s", provider, kind)
	}
}

// PREF-3: what cannot be saved is refused, with its place.
func TestPreferencesRefused(t *testing.T) {
	t.Parallel()
	s := startSite(t, "")
	for _, tc := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"not JSON", `{`, 422, "INVALID_INPUT"},
		{"not an object", `[]`, 422, "INVALID_INPUT"},
		{"wrong type", `{"preferredProviders":"alpha"}`, 422, "INVALID_INPUT"},
		{"wrong element", `{"excludedProviders":[1]}`, 422, "INVALID_INPUT"},
		{"wrong flag", `{"enableFallback":"yes"}`, 422, "INVALID_INPUT"},
		{"unknown field", `{"preferredProvider":[]}`, 422, "INVALID_INPUT"},
		{"unknown provider", `{"preferredProviders":["delta"]}`, 422, "INVALID_INPUT"},
		{"unknown model", `{"modelOverrides":{"nope":{}}}`, 422, "INVALID_INPUT"},
		{"nobody left", `{"excludedProviders":["gamma"]}`, 400, "INVALID_EXCLUSIONS"},
		{"1 MB", `{"preferredProviders":["` + strings.Repeat("a", 1<<20) + `"]}`, 413, "request_too_large"},
	} {
		t.Run("PREF-3 "+tc.name, func(t *testing.T) {
			a, _ := s.preferences(t, http.MethodPatch, tc.body, asEdge("ann")...)
			if a.status != tc.status || a.code() != tc.code {
				t.Errorf("got %d %.300s", a.status, a.body)
			}
		})
	}
	if a, _ := s.preferences(t, http.MethodPatch, `{"preferredProviders":["delta"]}`, asEdge("ann")...); !strings.Contains(a.body, "delta") {
		t.Errorf("PREF-3: the unknown provider is not named: %s", a.body)
	}
	if _, doc := s.preferences(t, http.MethodGet, "", asEdge("ann")...); len(doc["preferredProviders"].([]any)) != 0 {
		t.Errorf("a refused PATCH changed something: %v", doc)
	}
}
