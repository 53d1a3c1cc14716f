package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

// API-6: a provider's word about the operator's key, credit or model does not reach
// the client, whatever its form.
func TestRefusalsOfTheOperator(t *testing.T) {
	t.Parallel()
	const secret = `{"error":{"message":"org-secret has no credit"}}`
	for _, n := range []int{401, 402, 403, 404} {
		for name, h := range map[string]http.HandlerFunc{
			"plain":           reply(n, "application/json", secret),
			"empty":           reply(n, "application/json", ""),
			"without headers": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) },
			"1 MB":            reply(n, "text/html", strings.Repeat("org-secret ", 100_000)),
			"6 MB":            reply(n, "text/html", strings.Repeat("org-secret ", 600_000)),
			"gzip":            reply(n, "application/json", "\x1f\x8borg-secret", "content-encoding", "gzip"),
			"chunked": func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("content-type", "text/plain")
				w.WriteHeader(n)
				pieces("", "org-", "secret")(w, r)
			},
			"a stream": func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("content-type", "text/event-stream")
				w.WriteHeader(n)
				pieces("", "data: org-secret\n\n")(w, r)
			},
			"with their own names": reply(n, "application/json", secret, "x-account", "org-secret", "x-ratelimit-limit", "1", "www-authenticate", "Bearer org-secret", "etag", "org-secret", "retry-after", "9"),
		} {
			t.Run(fmt.Sprintf("API-6 %d %s", n, name), func(t *testing.T) {
				t.Parallel()
				p := newProbe(t)
				p.on("p1", h)
				a := p.chat(`,"provider":"p1"`)
				a.wantError(t, 502, "provider_error", "")
				a.want(t, 502, "p1", 1)
				if !strings.Contains(a.Body, "p1") || strings.Contains(a.Body+fmt.Sprint(a.Header), "secret") || a.Header.Get("content-encoding") != "" || a.Header.Get("retry-after") != "" {
					t.Errorf("the client saw %v\n%s", a.Header, clip(a.Body))
				}
				if e := p.event(a); e.Data.Status != "failed" || e.Data.Amount != "0" || outcomes(e) != fmt.Sprintf("p1 status %d", n) {
					t.Errorf("the event says %s, %s, %q", e.Data.Status, e.Data.Amount, outcomes(e))
				}
			})
		}
	}
	for _, n := range []int{301, 302, 303, 307, 308} { // who followed it would go past the gateway
		t.Run(fmt.Sprintf("API-6 %d", n), func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.on("p1", reply(n, "text/html", "moved to secret", "location", "http://secret.example/v1"))
			a := p.chat(`,"provider":"p1"`)
			a.wantError(t, 502, "provider_error", "")
			a.want(t, 502, "p1", 1)
			if strings.Contains(a.Body, "secret") || a.Header.Get("location") != "" {
				t.Errorf("the client saw %v\n%s", a.Header, clip(a.Body))
			}
		})
	}
	for _, n := range []int{101, 600, 999} { // no client knows what to make of these
		t.Run(fmt.Sprintf("API-6 %d", n), func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.on("p1", raw(fmt.Sprintf("HTTP/1.1 %d Secret\r\nupgrade: secret\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n", n)))
			a := p.chat(`,"provider":"p1"`)
			a.wantError(t, 502, "provider_error", "")
			a.want(t, 502, "p1", 1)
			if e := p.event(a); e.Data.Status != "failed" || !strings.HasPrefix(outcomes(e), "p1 status ") {
				t.Errorf("the event says %s, %q", e.Data.Status, outcomes(e))
			}
		})
	}
	t.Run("API-6 the last attempt's", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		p.fail(503)
		p.on("p3", status(402))
		a := p.chat("")
		a.wantError(t, 502, "provider_error", "")
		a.want(t, 502, "p3", 4)
	})
}

// API-6: the last provider's own status and body, untouched, where it is the client's
// business.
func TestLastProvidersWord(t *testing.T) {
	t.Parallel()
	for _, n := range []int{400, 408, 413, 422, 429, 500, 502, 503, 504, 529} {
		for name, body := range map[string]string{"JSON": ` { "error" : {"message":"1e0"}} `, "HTML": "<html>{", "nothing": "", "100 KB": `{"x":"` + strings.Repeat("x", 100<<10) + `"}`} {
			t.Run(fmt.Sprintf("API-6 %d %s", n, name), func(t *testing.T) {
				t.Parallel()
				p := newProbe(t)
				p.fail(503)
				last, attempts := "p3", 4
				if n == 400 || n == 413 || n == 422 {
					last, attempts = "p0", 1
				}
				p.on(last, reply(n, "application/x-odd", body, "retry-after", "17", "x-ratelimit-remaining", "0", "etag", "x"))
				a := p.chat("")
				a.want(t, n, last, attempts)
				if a.Body != body || a.Header.Get("content-type") != "application/x-odd" || a.Header.Get("retry-after") != "17" ||
					a.Header.Get("x-ratelimit-remaining") != "0" || a.Header.Get("etag") != "x" {
					t.Errorf("the client saw %v\n%s", a.Header, clip(a.Body))
				}
			})
		}
	}
	t.Run("API-6 all broken off", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		p.fail(503)
		p.on("p3", fault(demo.FaultReset, 0))
		a := p.chat("")
		a.wantError(t, 502, "all_providers_failed", "")
		a.want(t, 502, "", 4)
	})
}

// API-6: what shunt and Envoy refuse themselves.
func TestRefusals(t *testing.T) {
	t.Parallel()
	l, err := sharedLab()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		code, param              string
	}{
		{"API-6 no model", "POST", chatPath, `{"messages":[]}`, 400, "missing_model", "model"},
		{"API-6 unknown model", "POST", chatPath, `{"model":"gpt-99 \"<script>\u0000"}`, 404, "model_not_found", "model"},
		{"API-1 GET", "GET", chatPath, "", 404, "not_found", ""},
		{"API-1 PUT", "PUT", chatPath, "{}", 404, "not_found", ""},
		{"API-1 OPTIONS", "OPTIONS", chatPath, "", 404, "not_found", ""},
		{"API-1 unknown path", "POST", "/v1/embeddings", "{}", 404, "not_found", ""},
		{"API-1 root", "GET", "/", "", 404, "not_found", ""},
		{"API-1 a slash too many", "POST", chatPath + "/", "{}", 404, "not_found", ""},
		{"API-1 two slashes", "POST", "/v1//chat/completions", "{}", 404, "not_found", ""},
		{"API-1 another case", "POST", "/V1/chat/completions", "{}", 404, "not_found", ""},
		{"API-1 an escaped path", "POST", "/v1/chat%2Fcompletions", "{}", 404, "not_found", ""},
		{"API-1 below the path", "POST", chatPath + "/x", "{}", 404, "not_found", ""},
		{"API-1 a provider's own path", "POST", "/p0/v1/chat/completions", "{}", 404, "not_found", ""},
		{"API-3 bare slash", "GET", "/api/models/a/b/providers", "", 404, "not_found", ""},
		{"API-3 unknown model", "GET", "/api/models/nope/providers", "", 404, "model_not_found", "model"},
		{"API-2 POST", "POST", "/v1/models", "{}", 405, "method_not_supported", ""},
		{"API-2 unknown model", "GET", "/v1/models/nope", "", 404, "model_not_found", "model"},
		{"API-2 a slash too many", "GET", "/v1/models/", "", 404, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			req := newPost(t, l.URL+tc.path, tc.body)
			req.Method = tc.method
			a := do(t, req)
			code := tc.code
			if code == "" && a.Status == 404 { // either says it
				code = "not_found"
				if strings.Contains(a.Body, "model_not_found") {
					code, tc.param = "model_not_found", "model"
				}
			}
			a.wantError(t, tc.status, code, tc.param)
		})
	}
	t.Run("API-1 dots are resolved", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.post("/v1/x/../chat/./completions", p.body("")).want(t, 200, "p0", 1)
	})
}

// API-6: what is no proper HTTP is refused in the API's shape too.
func TestMalformedHTTP(t *testing.T) {
	t.Parallel()
	l, err := sharedLab()
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 90<<10)
	for _, tc := range []struct {
		name, request string
		status        int
		code          string
	}{
		{"API-6 no HTTP", "HELLO\r\n\r\n", 400, "bad_request"},
		{"API-6 a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"},
		{"API-6 bad header", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n", 400, "bad_request"},
		{"API-6 no host", "POST /v1/chat/completions HTTP/1.1\r\n\r\n", 400, "bad_request"},
		{"API-6 bad content-length", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ten\r\n\r\n", 400, "bad_request"},
		{"API-6 negative content-length", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400, "bad_request"},
		{"API-6 two lengths", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", 400, "bad_request"},
		{"API-6 length and chunks", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"},
		{"API-6 bad chunk", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"},
		{"API-6 headers too large", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-big: " + big + "\r\n\r\n", 431, "headers_too_large"},
		{"API-6 too many headers", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + strings.Repeat("a: b\r\n", 200) + "\r\n", 431, "headers_too_large"},
		{"API-1 CONNECT", "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n", 404, "not_found"},
		{"API-1 an absolute URL", "GET http://example.com/v1/embeddings HTTP/1.1\r\nhost: example.com\r\n\r\n", 404, "not_found"},
		{"API-2 half an escape", "GET /v1/models/a%2 HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found"},
		{"API-2 a bare percent sign", "GET /api/v1/models/% HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found"},
		{"API-3 no escape", "GET /api/models/a%2Fb%2z/providers HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found"},
		{"API-6 a WebSocket", "GET /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n\r\n", 400, "bad_request"},
		{"API-6 an upgrade of a POST", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 1\r\n\r\n{", 400, "invalid_json"},
		{"API-6 HTTP/1.0", "GET /v1/models HTTP/1.0\r\n\r\n", 426, "bad_request"},
		{"API-6 an unknown encoding", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", 400, "bad_request"},
		{"API-6 too many headers beside shunt's own", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 14\r\n" +
			strings.Repeat("a: b\r\n", 95) + "\r\n" + `{"model":"m0"}`, 431, "headers_too_large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := rawRequest(t, l.URL, tc.request)
			a.wantError(t, tc.status, tc.code, "")
			if a.Attempts() != "0" {
				t.Errorf("FALL-4: x-attempts %q", a.Attempts())
			}
		})
	}
}

// API-6: what Go's HTTP server would refuse in words of its own never gets to it.
func TestOddRequestsOfTheCatalog(t *testing.T) {
	t.Parallel()
	l, err := sharedLab()
	if err != nil {
		t.Fatal(err)
	}
	for name, headers := range map[string]string{
		"API-2 a user in the host":     "host: me@example.com\r\n",
		"API-2 half an IPv6 address":   "host: [::1\r\n",
		"API-2 another expectation":    "host: x\r\nexpect: a-miracle\r\n",
		"API-2 an encoding and a body": "host: x\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := rawRequest(t, l.URL, "GET /v1/models HTTP/1.1\r\n"+headers+"\r\nx")
			if a.Status != 200 || !strings.HasPrefix(a.Body, `{"object":"list"`) {
				t.Errorf("got %d\n%s", a.Status, clip(a.Body))
			}
		})
	}
}

// rawRequest sends bytes and reads what comes as an HTTP answer.
func rawRequest(t testing.TB, url, bytes string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, bytes); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body), err}
}

// wantError checks an error in the API's shape, and FALL-4's headers on it.
func (a answer) wantError(t testing.TB, status int, code, param string) {
	t.Helper()
	a.wantShape(t, status, code, param)
	if a.ID() == "" || a.Attempts() == "" {
		t.Errorf("FALL-4: x-request-id %q, x-attempts %q on a %d", a.ID(), a.Attempts(), a.Status)
	}
}

// wantShape checks an error in the API's shape (API-6).
func (a answer) wantShape(t testing.TB, status int, code, param string) {
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
}
