package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/test/harness"
)

// filled is p.body with a filling that makes it n bytes long.
func (p *probe) filled(n int) string {
	empty := p.body(`,"x":""`)
	return p.body(`,"x":"` + strings.Repeat("é/", (n-len(empty))/3) + strings.Repeat(".", (n-len(empty))%3) + `"`)
}

// upstreamBody is what a provider must get of a body.
func (p *probe) upstreamBody(body, slug string) string {
	return strings.Replace(body, `"`+p.model+`"`, `"`+p.fake(slug).upstream(p.model)+`"`, 1)
}

func (p *probe) wantBody(slug, body string) {
	p.t.Helper()
	if got, want := p.last(slug).Body, p.upstreamBody(body, slug); got != want {
		p.t.Errorf("REQ-1: %s got %d bytes that are not the %d sent: %s", slug, len(got), len(want), clip(got))
	}
}

// Large bodies reach every attempt whole, and too large ones none.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	const large, huge = 6 * mib, 31 * mib
	l := newLab(t, labOptions{Models: 16, Harness: harness.Options{Fast: true}}) // or Envoy would not wait for it
	for _, tc := range []struct {
		name    string
		size    int
		chunked bool
		fail    []string
	}{
		{"REQ-1 6 MB, the second attempt", large, false, []string{"p0"}},
		{"REQ-1 6 MB, the fourth attempt", large, false, []string{"p0", "p1", "p2"}},
		{"REQ-1 6 MB in chunks", large, true, []string{"p0"}},
		{"REQ-1 31 MiB", huge, false, nil},
		{"REQ-1 31 MiB, the second attempt", huge, false, []string{"p0"}},
		{"REQ-1 in chunks", 3000, true, nil},
	} {
		t.Run(tc.name, func(t *testing.T) { // one after the other: together they would take the machine's breath away
			p := l.probe(t)
			for _, slug := range tc.fail {
				p.on(slug, status(503))
			}
			body := p.filled(tc.size)
			req := newPost(t, p.URL+chatPath, body)
			if tc.chunked {
				req.ContentLength, req.Body = -1, io.NopCloser(strings.NewReader(body))
			}
			a := p.send(req)
			serves := fmt.Sprintf("p%d", len(tc.fail))
			a.want(t, 200, serves, len(tc.fail)+1)
			p.wantBody(serves, body)
			for _, slug := range tc.fail {
				p.wantBody(slug, body)
			}
		})
	}
	for _, tc := range []struct {
		name    string
		size    int
		chunked bool
	}{
		{"API-6 33 MiB", 33 * mib, false},
		{"API-6 33 MiB in chunks", 33 * mib, true},
		{"API-6 a byte too many", 32*mib + 1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := l.probe(t)
			head := fmt.Sprintf("POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n", chatPath, tc.size)
			body := p.filled(tc.size)
			if tc.chunked {
				head = fmt.Sprintf("POST %s HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n", chatPath, tc.size)
				body += "\r\n0\r\n\r\n"
			}
			a := upload(t, p.URL, head, body)
			a.wantError(t, 413, "request_too_large", "")
			for _, f := range p.fakes {
				if len(p.seen(f.slug)) != 0 {
					t.Errorf("%s got it", f.slug)
				}
			}
		})
	}
}

// upload writes a request and reads the answer, which may come before all is written.
func upload(t testing.TB, url, head, body string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	go func() { _, _ = io.WriteString(conn, head+body) }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(got), err}
}

// A body at the limit: what shunt writes may be longer than what the client wrote.
func TestBodyLimit(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	l := newLab(t, labOptions{Models: 40, Extra: "limits: {body: 64KiB}\n"})
	for _, size := range []int{limit - 100, limit - 12, limit - 2, limit - 1, limit} {
		for _, more := range []string{"", stream} {
			t.Run(fmt.Sprintf("REQ-1 %d bytes %s", size, more), func(t *testing.T) {
				t.Parallel()
				p := l.probe(t)
				p.fail(503, "p2")
				body := p.filled(size - len(more))
				body = body[:len(body)-1] + more + "}"
				a := p.post(chatPath, body)
				a.want(t, 200, "p2", 3)
				if got := p.last("p2").Body; len(got) < size {
					t.Errorf("p2 got %d bytes of %d", len(got), size)
				}
			})
		}
	}
	for _, size := range []int{limit + 1, limit + 1000, 10 * limit} {
		t.Run(fmt.Sprintf("API-6 %d bytes", size), func(t *testing.T) {
			t.Parallel()
			p := l.probe(t)
			a := p.post(chatPath, p.filled(size))
			a.wantError(t, 413, "request_too_large", "")
		})
	}
	t.Run("API-6 a large answer has nothing to do with it", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		body := `{"x":"` + strings.Repeat("x", 20*limit) + `"}`
		p.on("p0", reply(200, "application/json", body))
		if a := p.chat(""); a.Status != 200 || a.Body != `{"provider":"p0",`+body[1:] {
			t.Errorf("got %d, %d bytes", a.Status, len(a.Body))
		}
		p.on("p0", reply(500, "application/json", body))
		if a := p.chat(`,"provider":"p0"`); a.Status != 500 || a.Body != body {
			t.Errorf("got %d, %d bytes", a.Status, len(a.Body))
		}
		p.on("p0", reply(401, "application/json", body))
		p.chat(`,"provider":"p0"`).wantError(t, 502, "provider_error", "")
	})
}

// http2Client speaks HTTP/2 from the first byte, without TLS.
func http2Client() *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Timeout: time.Minute, Transport: tr}
}

// withTrailers gives a request a body of unknown length, and trailers.
func withTrailers(req *http.Request, body string) *http.Request {
	req.Trailer = http.Header{"X-Shunt-Route": {"chat/1m0s"}, "Grpc-Status": {"0"}}
	req.ContentLength, req.Body = -1, io.NopCloser(strings.NewReader(body))
	return req
}

// Ways to send a request.
func TestUploads(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*http.Client{"HTTP/1.1": client, "HTTP/2": http2Client()} {
		t.Run("REQ-1 "+name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.fail(503, "p1")
			body := p.filled(200_000)
			a := doWith(t, c, newPost(t, p.URL+chatPath, body))
			a.want(t, 200, "p1", 2)
			p.wantBody("p1", body)
		})
		t.Run("REQ-1 a stream over "+name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.on("p0", pieces("text/event-stream", sse("\n", chunkRole), sse("\n", chunkUsage, done)))
			a := doWith(t, c, newPost(t, p.URL+chatPath, p.body(stream)))
			a.want(t, 200, "p0", 1)
			if want := shown(sse("\n", chunkRole, chunkUsage, done), "p0", true); a.Body != want {
				t.Errorf("got %q, want %q", a.Body, want)
			}
		})
		t.Run("API-6 an error over "+name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			doWith(t, c, newPost(t, p.URL+chatPath, "{")).wantError(t, 400, "invalid_json", "")
			doWith(t, c, newPost(t, p.URL+"/nowhere", "{")).wantError(t, 404, "not_found", "")
		})
	}
	t.Run("REQ-1 trailers over HTTP/1.1", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		a := do(t, withTrailers(newPost(t, p.URL+chatPath, ""), p.body("")))
		a.want(t, 200, "p0", 1)
		p.wantBody("p0", p.body(""))
		if s := p.last("p0"); len(s.Trailer) != 0 || s.Header.Get("trailer") != "" {
			t.Errorf("SEC-1: p0 got trailers %v", s.Trailer)
		}
	})
	t.Run("API-6 trailers over HTTP/2", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		doWith(t, http2Client(), withTrailers(newPost(t, p.URL+chatPath, ""), p.body(""))).wantError(t, 400, "bad_request", "")
		if n := len(p.seen("p0")); n != 0 {
			t.Errorf("p0 got %d requests", n)
		}
	})
	t.Run("REQ-1 Expect: 100-continue", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		body := p.filled(100_000)
		c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
		a := doWith(t, c, newPost(t, p.URL+chatPath, body, "expect", "100-continue"))
		a.want(t, 200, "p0", 1)
		p.wantBody("p0", body)
		if got := p.last("p0").Header.Get("expect"); got != "" {
			t.Errorf("p0 got expect %q", got)
		}
	})
	t.Run("REQ-1 a slow upload", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		body := p.filled(5000)
		r, w := io.Pipe()
		go func() { // longer than any timeout of shunt's: no one waits for an upload but Envoy
			for i := 0; i < len(body); i += 1000 {
				_, _ = io.WriteString(w, body[i:min(i+1000, len(body))])
				time.Sleep(600 * time.Millisecond) // the slowness that this is about
			}
			_ = w.Close()
		}()
		req := newPost(t, p.URL+chatPath, "")
		req.ContentLength, req.Body = int64(len(body)), r
		a := p.send(req)
		a.want(t, 200, "p0", 1)
		p.wantBody("p0", body)
	})
	t.Run("BILL-1 an upload that is given up", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "POST "+chatPath+" HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
		_ = conn.Close()
		p.chat("").want(t, 200, "p0", 1)
		p.last("p0")
	})
}
