package e2e

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/test/certs"
	"github.com/shunt-gateway/shunt/test/harness"
)

// FALL-1: a provider that cannot be reached, whose name does not resolve, or who is
// not who it should be, is a connect failure; and TLS that is right works.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	ours, others := certs.New(t), certs.New(t)
	closed := harness.FreeAddr(t)
	// p0 to p6 fail before a byte is said; p7 and p8 are right.
	l := newLab(t, labOptions{Providers: 9, Models: 20,
		Certs: map[string]*tls.Certificate{
			"p2": others.Issue(t, "p2", "127.0.0.1", "localhost").Load(t),
			"p3": ours.Issue(t, "p3", "elsewhere.example", "127.0.0.2").Load(t),
			"p4": ours.IssueUntil(t, "p4", time.Now().Add(-time.Hour), "127.0.0.1").Load(t),
			"p7": ours.Issue(t, "p7", "127.0.0.1").Load(t),
			"p8": ours.Issue(t, "p8", "localhost").Load(t),
		},
		Endpoint: map[string]string{
			"p0": "http://" + closed + "/v1",
			"p1": "http://nosuchhost.invalid/v1",
			"p6": "https://nosuchhost.invalid/v1",
		},
		Host:    map[string]string{"p8": "localhost"},
		Each:    map[string]string{"p5": "timeout: {connect: 300ms}"},
		Harness: harness.Options{Env: []string{"SSL_CERT_FILE=" + ours.File}},
		Routing: "max_attempts: 9",
	})
	for _, tc := range []struct{ name, slug string }{
		{"FALL-1 connection refused", "p0"},
		{"FALL-1 a name that does not resolve", "p1"},
		{"FALL-1 a certificate of an unknown authority", "p2"},
		{"FALL-1 a certificate for another host", "p3"},
		{"FALL-1 a certificate that has expired", "p4"},
		{"FALL-1 a name that does not resolve, with TLS", "p6"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := l.probe(t)
			a := p.chat(`,"provider":{"order":["` + tc.slug + `","p7"]}`)
			a.want(t, 200, "p7", 2)
			if got, want := outcomes(p.event(a)), tc.slug+" connect_failure 0, p7 ok 200"; got != want {
				t.Errorf("the event's attempts are %q, want %q", got, want)
			}
			if n := len(p.seen(tc.slug)); n != 0 {
				t.Errorf("%s saw the request", tc.slug)
			}
			alone := p.chat(`,"provider":"` + tc.slug + `"`)
			alone.wantError(t, 502, "all_providers_failed", "")
			if got, want := outcomes(p.event(alone)), tc.slug+" connect_failure 0"; got != want {
				t.Errorf("the event's attempts are %q, want %q", got, want)
			}
		})
	}
	t.Run("FALL-2 TLS by address, with HTTP/2", func(t *testing.T) {
		t.Parallel()
		l.wantTLS(t, "p7")
	})
	t.Run("FALL-2 TLS by name, with HTTP/2", func(t *testing.T) {
		t.Parallel()
		l.wantTLS(t, "p8")
	})
}

// wantTLS checks a provider that speaks TLS, and what HTTP/2 might do to answers: there
// the end comes along with the last bytes.
func (l *lab) wantTLS(t *testing.T, slug string) {
	p := l.probe(t)
	pin := `,"provider":"` + slug + `"`
	f := p.fake(slug)
	a := p.chat(pin)
	a.want(t, 200, slug, 1)
	if s := p.last(slug); s.Proto != "HTTP/2.0" || s.Header.Get("authorization") != "Bearer "+f.key || s.Host != f.authority() {
		t.Errorf("FALL-2: %s got %s %s %q", slug, s.Proto, s.Host, s.Header.Get("authorization"))
	}
	for _, body := range []string{`{"id":1}`, "{}", `{"id":`, "{", "[]", "", `{"a":"` + strings.Repeat("x", 200<<10) + `"}`} {
		p.on(slug, reply(200, "application/json", body))
		a := p.chat(pin)
		want := body
		if strings.HasSuffix(body, "}") {
			want = strings.Replace(`{"provider":"`+slug+`",`+body[1:], ",}", "}", 1)
		}
		if body == `{"id":` {
			want = `{"provider":"` + slug + `","id":`
		}
		if a.Status != 200 || a.Body != want || a.Err != nil {
			t.Errorf("FALL-4: %q came as %d %q, %v", clip(body), a.Status, clip(a.Body), a.Err)
		}
	}
	p.on(slug, status(401))
	p.chat(pin).wantError(t, 502, "provider_error", "")
	l.wantTrailers(t, slug)
	t.Run("BILL-7 streams", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) { p.checkCutAt(rt, slug) })
	})
}

// wantTrailers checks that trailers of an answer, which HTTP/2 may have, do no harm and
// stay behind.
func (l *lab) wantTrailers(t *testing.T, slug string) {
	t.Helper()
	p := l.probe(t)
	for body, kind := range map[string]string{
		`{"id":1}`: "application/json", sse("\n", chunkRole, chunkUsage, done): "text/event-stream", "x": "text/plain", "": "application/json",
	} {
		p.on(slug, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("trailer", "x-shunt-outcome, set-cookie")
			pieces(kind, body)(w, r)
			w.Header().Set("x-shunt-outcome", "reset")
			w.Header().Set("set-cookie", "a=b")
		})
		resp, err := http2Client().Do(newPost(t, p.URL+chatPath, p.body(`,"provider":"`+slug+`"`)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		want := body
		if kind != "text/plain" {
			want = strings.Replace(body, "{", `{"provider":"`+slug+`",`, 1)
		}
		if resp.StatusCode != 200 || err != nil || string(got) != want {
			t.Errorf("%s with trailers: %d %q, %v; want %q", kind, resp.StatusCode, got, err, want)
		}
		for name := range resp.Trailer {
			if resp.Trailer.Get(name) != "" {
				t.Errorf("SEC-1: the client got the trailer %s", name)
			}
		}
	}
}

// FALL-1: a connection that does not come about in time.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	// A listener whose queue is full drops what knocks.
	addr, full := fullListener(t)
	defer full()
	l := newLab(t, labOptions{
		Endpoint: map[string]string{"p0": "http://" + addr + "/v1"},
		Each:     map[string]string{"p0": "timeout: {connect: 200ms}"},
	})
	p := l.probe(t)
	begin := time.Now()
	a := p.chat("")
	a.want(t, 200, "p1", 2)
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("it took %v, so nothing was waited for", took)
	}
	if got, want := outcomes(p.event(a)), "p0 connect_failure 0, p1 ok 200"; got != want {
		t.Errorf("the event's attempts are %q, want %q", got, want)
	}
}

// fullListener listens without accepting, its queue full.
func fullListener(t testing.TB) (addr string, end func()) {
	t.Helper()
	fd, err := socketListening()
	if err != nil {
		t.Fatal(err)
	}
	addr = fd.addr
	var held []net.Conn
	for waited := 0; waited < 2; { // once may be this machine's fault
		c, err := net.DialTimeout("tcp", addr, 500*time.Millisecond)
		if os.IsTimeout(err) {
			waited++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if held = append(held, c); len(held) > 64 {
			t.Fatal("the queue does not get full")
		}
	}
	return addr, func() {
		for _, c := range held {
			_ = c.Close()
		}
		fd.close()
	}
}
