package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

// FALL-4: `provider` in a JSON answer, and nothing else changed in it.
func TestProviderInJSON(t *testing.T) {
	t.Parallel()
	const js, named = "application/json", `"provider":"p0"`
	long := strings.Repeat("x", 300<<10)
	for _, tc := range []struct {
		name  string
		h     http.HandlerFunc
		want  string
		wants int // status; 0: 200
	}{
		{"FALL-4 plain", reply(200, js, `{"id":"x","n":1e0}`), `{` + named + `,"id":"x","n":1e0}`, 0},
		{"FALL-4 pretty", reply(200, js, "{\n  \"id\" : \"x\"\n}\n"), "{" + named + ",\n  \"id\" : \"x\"\n}\n", 0},
		{"FALL-4 leading white space", reply(200, js, "\n\n \t{\"id\":1}"), "\n\n \t{" + named + `,"id":1}`, 0},
		{"FALL-4 empty object", reply(200, js, `{}`), `{` + named + `}`, 0},
		{"FALL-4 empty object, spaced", reply(200, js, "{ \n} "), "{" + named + " \n} ", 0},
		{"FALL-4 array", reply(200, js, `[{"id":1}]`), `[{"id":1}]`, 0},
		{"FALL-4 string", reply(200, js, `"{"`), `"{"`, 0},
		{"FALL-4 not JSON though it says so", reply(200, js, `<html>{}</html>`), `<html>{}</html>`, 0},
		{"FALL-4 content type with a charset", reply(200, "Application/JSON; charset=utf-8", `{"a":1}`), `{` + named + `,"a":1}`, 0},
		{"FALL-4 a JSON dialect", reply(200, "application/vnd.x+json", `{"a":1}`), `{` + named + `,"a":1}`, 0},
		{"FALL-4 text", reply(200, "text/plain", `{"a":1}`), `{"a":1}`, 0},
		{"FALL-4 no content type", reply(200, "", `{"a":1}`), `{"a":1}`, 0},
		{"FALL-4 201", reply(201, js, `{"a":1}`), `{` + named + `,"a":1}`, 201},
		{"FALL-4 204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "", 204},
		{"FALL-4 empty body", reply(200, js, ""), "", 0},
		{"FALL-4 gzip that nobody asked for", reply(200, js, "\x1f\x8b{\"a\":1}", "content-encoding", "gzip"), "\x1f\x8b{\"a\":1}", 0},
		{"FALL-4 no encoding, said so", reply(200, js, `{"a":1}`, "content-encoding", "Identity"), `{` + named + `,"a":1}`, 0},
		{"FALL-4 a byte order mark", reply(200, js, "\ufeff {\"id\":1}"), "\ufeff {" + named + `,"id":1}`, 0},
		{"FALL-4 a byte order mark in packets", pieces(js, "\xef", "\xbb", "\xbf", "\n", "{", `"id":1}`), "\ufeff\n{" + named + `,"id":1}`, 0},
		{"FALL-4 half a byte order mark", pieces(js, "\xef", "\xbb"), "\xef\xbb", 0},
		{"FALL-4 no byte order mark", pieces(js, "\xef", "{}"), "\xef{}", 0},
		{"FALL-4 in packets after the brace", pieces(js, `{`, `"id"`, `:1}`), `{` + named + `,"id":1}`, 0},
		{"FALL-4 in packets, byte by byte", pieces(js, strings.Split("  {\"provider\" : \"x\", \"id\":1 } \n", "")...), "  {" + named + ",\"id\":1 } \n", 0},
		{"FALL-4 in packets after white space", pieces(js, "\n", "  ", `{ `, ` }`), "\n  {" + named + "  }", 0},
		{"FALL-4 chunked", pieces(js, `{"a":{"b":`, `"}"},"c":`, `[{}]}`), `{` + named + `,"a":{"b":"}"},"c":[{}]}`, 0},
		{"FALL-4 provider there, first", reply(200, js, `{"provider":"them","id":1}`), `{` + named + `,"id":1}`, 0},
		{"FALL-4 provider there, last", reply(200, js, `{"id":1 , "provider":"them" }`), `{` + named + `,"id":1 }`, 0},
		{"FALL-4 provider there, alone", reply(200, js, `{"provider":"them"}`), `{` + named + `}`, 0},
		{"FALL-4 provider there, null", reply(200, js, `{"id":1,"provider":null,"z":2}`), `{` + named + `,"id":1,"z":2}`, 0},
		{"FALL-4 provider there, an object", reply(200, js, `{"provider":{"name":"}","x":[1,"]"]},"z":2}`), `{` + named + `,"z":2}`, 0},
		{"FALL-4 provider there, in a later packet", pieces(js, `{"id":1,"a":"`, `b","prov`, `ider":"them`, `","z":2}`), `{` + named + `,"id":1,"a":"b","z":2}`, 0},
		{"FALL-4 provider further in stays", reply(200, js, `{"a":{"provider":"x"},"b":"\"provider\":\"y\"","c":["provider"],"d":"provider"}`),
			`{` + named + `,"a":{"provider":"x"},"b":"\"provider\":\"y\"","c":["provider"],"d":"provider"}`, 0},
		{"FALL-4 longer than what is held back", reply(200, js, `{"id":"`+long+`"}`), `{` + named + `,"id":"` + long + `"}`, 0},
		{"FALL-4 longer, in packets", pieces(js, `{`, `"id":"`+long, long+`"`, `}`), `{` + named + `,"id":"` + long + long + `"}`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.on("p0", tc.h)
			a := p.chat("")
			a.want(t, max(tc.wants, 200), "p0", 1)
			if a.Body != tc.want || a.Err != nil {
				t.Errorf("got  %q (%v)\nwant %q", clip(a.Body), a.Err, clip(tc.want))
			}
		})
	}
}

// A JSON answer that breaks off reaches the client as broken as it was.
func TestTruncatedJSON(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"FALL-1 in the object": `{"id":"x","choices":[`,
		"FALL-1 at the brace":  `{`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.on("p0", raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"+body))
			a := p.chat("")
			a.want(t, 200, "p0", 1)
			if a.Err == nil {
				t.Errorf("the client cannot tell that the answer is not whole: %q", a.Body)
			}
			if e := p.event(a); e.Data.Status != "failed" || e.Data.Amount != "0" || outcomes(e) != "p0 reset 200" {
				t.Errorf("BILL-8: the event says %s, %s, %q", e.Data.Status, e.Data.Amount, outcomes(e))
			}
		})
	}
}

// BILL-8: a 200 that is an error costs nothing.
func TestErrorInJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, path, body, status string }{
		{"BILL-8 an error object", chatPath, `{"error":{"message":"no","code":500}}`, "failed"},
		{"BILL-8 an error beside others", chatPath, `{"id":"x","choices":[],"error":{"message":"no"}}`, "failed"},
		{"BILL-8 a failed response", "/v1/responses", `{"id":"x","object":"response","status":"failed","error":{"code":"server_error","message":"x"}}`, "failed"},
		{"BILL-8 error null", "/v1/responses", `{"id":"x","object":"response","status":"completed","error":null}`, "completed"},
		{"BILL-8 an error further in", chatPath, `{"id":"x","choices":[{"message":{"content":"\"error\":{"},"error":{"x":1}}]}`, "completed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.on("p0", reply(200, "application/json", tc.body))
			a := p.post(tc.path, p.body(""))
			a.want(t, 200, "p0", 1)
			if e := p.event(a); e.Data.Status != tc.status || (e.Data.Amount == "0") != (tc.status == "failed") {
				t.Errorf("the event says %s, amount %s, want %s", e.Data.Status, e.Data.Amount, tc.status)
			}
		})
	}
}

// FALL-4: response_provider: header leaves bodies alone.
func TestProviderInHeader(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{Models: 40, Routing: "response_provider: header"})
	for name, tc := range map[string]struct{ contentType, body string }{
		"FALL-4 JSON":                 {"application/json", "\n { \"provider\" : 1e0, \"id\":[] } \n"},
		"FALL-4 half an object":       {"application/json", `{"id":`},
		"FALL-4 stream":               {"text/event-stream", ": x\r\n\r\n" + sse("\r\n", chunkTheirs, chunkBeside, done)},
		"FALL-4 stream without end":   {"text/event-stream", strings.TrimRight(sse("\n", chunkTheirs, chunkSoFar), "\n")},
		"FALL-4 stream with an error": {"text/event-stream", sse("\n", chunkTheirs, chunkError)},
	} {
		for _, more := range []string{"", stream, streamAsked} {
			t.Run(name+" "+more, func(t *testing.T) {
				t.Parallel()
				p := l.probe(t)
				p.on("p0", reply(200, tc.contentType, tc.body))
				a := p.chat(more)
				a.want(t, 200, "p0", 1)
				if a.Body != tc.body {
					t.Errorf("got %q, want %q", a.Body, tc.body)
				}
				failed := strings.Contains(tc.body, chunkError)
				if e := p.event(a); (e.Data.Status == "failed") != failed {
					t.Errorf("the event says %s", e.Data.Status)
				}
			})
		}
	}
	t.Run("BILL-7 an added usage chunk goes all the same", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.on("p0", reply(200, "text/event-stream", sse("\n", chunkRole, chunkUsage, done)))
		a := p.chat(stream)
		if want := sse("\n", chunkRole, done); a.Body != want {
			t.Errorf("got %q, want %q", a.Body, want)
		}
		p.wantUsage(a, "reported", "completed")
	})
}

// FALL-4: who served is said on every kind of answer.
func TestEveryAnswerSaysWho(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, path, method, more string
		status                   int
		provider, attempts       string
		setup                    func(p *probe)
	}{
		{"FALL-4 200", chatPath, "POST", "", 200, "p0", "1", func(*probe) {}},
		{"FALL-4 stream", chatPath, "POST", `,"stream":true`, 200, "p0", "1", func(*probe) {}},
		{"FALL-4 responses", "/v1/responses", "POST", `,"input":"x"`, 200, "p0", "1", func(*probe) {}},
		{"FALL-4 completions", "/api/v1/completions", "POST", `,"prompt":"x"`, 200, "p0", "1", func(*probe) {}},
		{"FALL-4 talk-to-gpt", "/api/talk-to-gpt", "POST", ``, 200, "p0", "1", func(*probe) {}},
		{"FALL-4 the third", chatPath, "POST", "", 200, "p2", "3", func(p *probe) { p.fail(503, "p2", "p3") }},
		{"FALL-4 a refusal", chatPath, "POST", `,"caching":3`, 400, "", "0", func(*probe) {}},
		{"FALL-4 a provider's 400", chatPath, "POST", "", 400, "p0", "1", func(p *probe) { p.fail(400) }},
		{"FALL-4 all failed", chatPath, "POST", "", 503, "p3", "4", func(p *probe) { p.fail(503) }},
		{"FALL-4 a provider's 401", chatPath, "POST", "", 502, "p3", "4", func(p *probe) { p.fail(401) }},
		{"FALL-4 no answer at all", chatPath, "POST", "", 502, "", "4", func(p *probe) {
			for _, f := range p.fakes {
				p.on(f.slug, fault(demo.FaultReset, 0))
			}
		}},
		{"FALL-4 models", "/v1/models", "GET", "", 200, "", "1", func(*probe) {}},
		{"FALL-4 no such path", "/v1/nothing", "POST", "", 404, "", "0", func(*probe) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			tc.setup(p)
			req := newPost(t, p.URL+tc.path, p.body(tc.more))
			if tc.method == "GET" {
				req = newPost(t, p.URL+tc.path, "")
				req.Method, req.Body, req.ContentLength = "GET", nil, 0
			}
			a := do(t, req)
			if a.Status != tc.status || a.Provider() != tc.provider || a.Attempts() != tc.attempts || len(a.ID()) != 36 {
				t.Errorf("got %d, x-provider %q, x-attempts %q, x-request-id %q; want %d, %q, %q\n%s",
					a.Status, a.Provider(), a.Attempts(), a.ID(), tc.status, tc.provider, tc.attempts, clip(a.Body))
			}
			if tc.status == 200 && tc.provider != "" && strings.Count(a.Body, fmt.Sprintf(`"provider":%q`, tc.provider)) != 1 {
				t.Errorf("FALL-4: provider is not in the body once:\n%s", clip(a.Body))
			}
		})
	}
}
