package demo_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

func TestJSONAnswers(t *testing.T) {
	h := start(t, demo.Config{Behaviour: demo.Behaviour{Tokens: 5, Reasoning: 2}})
	for path, want := range map[string]string{
		"/chat/completions": "Hello from novita: 1 2",
		"/completions":      "Hello from novita: 1 2",
	} {
		a := h.post(t, path, chat)
		c := decode[chunk](t, a.body)
		got := c.Choices[0].Text
		if got == "" {
			got = *c.Choices[0].Message.Content
		}
		if a.StatusCode != 200 || got != want || c.Choices[0].FinishReason != "stop" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
		// [{"role":"user","content":"hi"}] has 32 bytes: 8 tokens.
		if u := c.Usage; u == nil || u.Prompt != 8 || u.Completion != 7 || u.CDetails.Reasoning != 2 {
			t.Errorf("%s: usage %+v", path, u)
		}
	}
}

func TestReportedUsage(t *testing.T) {
	h := start(t, demo.Config{Behaviour: demo.Behaviour{Usage: demo.Usage{Counts: &demo.Counts{
		Prompt: 100, Completion: 20, Cached: 60, CacheWrite: 10, Reasoning: 5,
	}}}})
	u := decode[chunk](t, h.post(t, "/chat/completions", chat).body).Usage
	if u.Prompt != 100 || u.Completion != 20 || u.PDetails.Cached != 60 || u.PDetails.CacheWrite != 10 || u.CDetails.Reasoning != 5 {
		t.Errorf("usage %+v", u)
	}
	h.Set(demo.Behaviour{Usage: demo.Usage{When: demo.UsageNever}})
	if a := h.post(t, "/chat/completions", chat); strings.Contains(a.body, "usage") {
		t.Errorf("usage never, but %s", a.body)
	}
}

func TestTokenLimit(t *testing.T) {
	h := start(t, demo.Config{Behaviour: demo.Behaviour{Tokens: 9}})
	for _, name := range []string{"max_tokens", "max_completion_tokens"} {
		c := decode[chunk](t, h.post(t, "/chat/completions", `{"model":"m","`+name+`":3,"messages":[]}`).body)
		if c.Choices[0].FinishReason != "length" || c.Usage.Completion != 3 {
			t.Errorf("%s 3: %+v", name, c)
		}
	}
	h.Set(demo.Behaviour{Tokens: 9, Reasoning: 2}) // reasoning is part of the limit
	c := decode[chunk](t, h.post(t, "/chat/completions", `{"model":"m","max_tokens":3,"messages":[]}`).body)
	if c.Choices[0].FinishReason != "length" || *c.Choices[0].Message.Content != "Hello" || c.Usage.Completion != 3 {
		t.Errorf("with reasoning: %+v", c)
	}
}

func TestRefusals(t *testing.T) {
	h := start(t, demo.Config{APIKey: "right", BasePath: "/v1", Models: []string{"m"}})
	for _, c := range []struct {
		name, method, url, body, key string
		status                       int
		code                         string
	}{
		{"fine", "POST", h.url + "/chat/completions", chat, "right", 200, ""},
		{"no key", "POST", h.url + "/chat/completions", chat, "", 401, "invalid_api_key"},
		{"wrong key", "POST", h.url + "/chat/completions", chat, "wrong", 401, "invalid_api_key"},
		{"unknown model", "POST", h.url + "/chat/completions", `{"model":"x"}`, "right", 404, "model_not_found"},
		{"no model", "POST", h.url + "/chat/completions", `{}`, "right", 400, "invalid_request"},
		{"not JSON", "POST", h.url + "/chat/completions", `{`, "right", 400, "invalid_request"},
		{"another base", "POST", h.root + "/v2/chat/completions", chat, "right", 404, "model_not_found"},
		{"another API", "POST", h.url + "/embeddings", chat, "right", 404, "model_not_found"},
		{"method", "GET", h.url + "/chat/completions", "", "right", 405, "405"},
		{"models", "GET", h.url + "/models", "", "right", 200, ""},
		{"models, no key", "GET", h.url + "/models", "", "", 401, "invalid_api_key"},
	} {
		a, err := h.do(t, c.method, c.url, c.body, "authorization", "Bearer "+c.key)
		if err != nil {
			t.Fatal(err)
		}
		if got := decode[errorAnswer](t, a.body).Error.Code; a.StatusCode != c.status || got != c.code {
			t.Errorf("%s: %d %s", c.name, a.StatusCode, a.body)
		}
	}
	h.seen(t, 11)
}

func TestFailures(t *testing.T) {
	h := start(t, demo.Config{})
	for _, status := range []int{400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503, 529} {
		h.Set(demo.Behaviour{Fail: &demo.Failure{Status: status, Headers: map[string]string{"retry-after": "7"}}})
		a := h.post(t, "/chat/completions", chatStream)
		if e := decode[errorAnswer](t, a.body).Error; a.StatusCode != status || a.Header.Get("retry-after") != "7" ||
			e.Message == "" || e.Type == "" || e.Code == "" {
			t.Errorf("%d: %d %v %s", status, a.StatusCode, a.Header, a.body)
		}
	}
	h.Set(demo.Behaviour{Fail: &demo.Failure{Status: 502, Body: "<html>", Headers: map[string]string{"content-type": "text/html"}}})
	if a := h.post(t, "/responses", chat); a.StatusCode != 502 || a.body != "<html>" || a.Header.Get("content-type") != "text/html" {
		t.Errorf("own body: %d %v %s", a.StatusCode, a.Header, a.body)
	}
}

func TestFailureRate(t *testing.T) {
	h := start(t, demo.Config{Seed: 1, Behaviour: demo.Behaviour{FailureRate: 0.25}})
	failed := 0
	const n = 400
	for range n {
		switch status := h.post(t, "/chat/completions", chat).StatusCode; status {
		case http.StatusOK:
		case http.StatusServiceUnavailable:
			failed++
		default:
			t.Fatal(status)
		}
	}
	if failed < n/8 || failed > n*3/8 { // the dice are seeded: this cannot flake
		t.Errorf("%d of %d failed, want about a quarter", failed, n)
	}
}

func TestRulesAndScript(t *testing.T) {
	fails := func(status int) demo.Behaviour { return demo.Behaviour{Fail: &demo.Failure{Status: status}} }
	h := start(t, demo.Config{Rules: map[string]demo.Behaviour{"bad": fails(500)}})
	status := func(model string) int {
		return h.post(t, "/chat/completions", `{"model":"`+model+`","messages":[]}`).StatusCode
	}
	h.Next(fails(429), fails(503))
	h.SetFor("worse", fails(402))
	for _, c := range []struct {
		model string
		want  int
	}{{"good", 429}, {"bad", 503}, {"good", 200}, {"bad", 500}, {"worse", 402}} {
		if got := status(c.model); got != c.want {
			t.Errorf("%s: %d, want %d", c.model, got, c.want)
		}
	}
	h.Next(fails(429))
	h.Reset()
	if got := status("worse"); got != 200 {
		t.Errorf("after Reset: %d", got)
	}
}

func TestToolChoice(t *testing.T) {
	h := start(t, demo.Config{})
	for rest, want := range map[string]string{
		tools:                           "tool_calls",
		tools + `,"tool_choice":"none"`: "stop",
		tools + `,"tool_choice":{"type":"function","function":{"name":"look"}}`: "tool_calls",
		`"tools":[]`: "stop",
	} {
		c := decode[chunk](t, h.post(t, "/chat/completions", `{"model":"m","messages":[],`+rest+`}`).body)
		if got := c.Choices[0].FinishReason; got != want {
			t.Errorf("%s: %s, want %s", rest, got, want)
		}
	}
	after := `{"model":"m","messages":[{"role":"tool","tool_call_id":"1","content":"x"}],` + tools + `}`
	if c := decode[chunk](t, h.post(t, "/chat/completions", after).body); c.Choices[0].FinishReason != "stop" {
		t.Errorf("after a tool's result: %+v", c)
	}
}
