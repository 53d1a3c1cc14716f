package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

// FALL-1: what makes the next attempt, and FALL-2: what it carries.
func TestFallback(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		first     http.HandlerFunc
		fallsBack bool
		outcome   string
	}{
		{"FALL-1 500", status(500), true, "p0 status 500"},
		{"FALL-1 501", status(501), true, "p0 status 501"},
		{"FALL-1 503", status(503), true, "p0 status 503"},
		{"FALL-1 529", status(529), true, "p0 status 529"},
		{"FALL-1 599", status(599), true, "p0 status 599"},
		{"FALL-1 429", status(429), true, "p0 status 429"},
		{"FALL-1 408", status(408), true, "p0 status 408"},
		{"FALL-1 401", status(401), true, "p0 status 401"},
		{"FALL-1 402", status(402), true, "p0 status 402"},
		{"FALL-1 403", status(403), true, "p0 status 403"},
		{"FALL-1 404", status(404), true, "p0 status 404"},
		{"FALL-1 400 never", status(400), false, "p0 status 400"},
		{"FALL-1 413 never", status(413), false, "p0 status 413"},
		{"FALL-1 422 never", status(422), false, "p0 status 422"},
		{"FALL-1 409 never", status(409), false, "p0 status 409"},
		{"FALL-1 redirect never", reply(302, "text/plain", "", "location", "http://127.0.0.1:1/"), false, "p0 status 302"},
		{"FALL-1 reset before the first byte", fault(demo.FaultReset, 0), true, "p0 reset 0"},
		{"FALL-1 close before the first byte", fault(demo.FaultClose, 0), true, "p0 reset 0"},
		{"FALL-1 not HTTP at all", raw("SSH-2.0-OpenSSH_9.9\r\n"), true, "p0 reset 0"},
		{"FALL-1 headers without an end", raw("HTTP/1.1 200 OK\r\ncontent-type: app"), true, "p0 reset 0"},
		{"FALL-1 a 503 that breaks off", raw("HTTP/1.1 503 Busy\r\ncontent-length: 100\r\n\r\nhalf"), true, "p0 status 503"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.on("p0", tc.first)
			a := p.chat("")
			got := outcomes(p.event(a))
			if !tc.fallsBack {
				a.want(t, a.Status, "p0", 1)
				if got != tc.outcome {
					t.Errorf("BILL-6: the event's attempts are %q, want %q", got, tc.outcome)
				}
				return
			}
			a.want(t, 200, "p1", 2)
			if want := tc.outcome + ", p1 ok 200"; got != want {
				t.Errorf("BILL-6: the event's attempts are %q, want %q", got, want)
			}
			p.wantSecond("p1")
		})
	}
}

// wantSecond checks what a provider got of p.body("") after another had failed.
func (p *probe) wantSecond(slug string) {
	p.t.Helper()
	f, s := p.fake(slug), p.last(slug)
	auth := "Bearer " + f.key
	if f.key == "" {
		auth = ""
	}
	want := strings.Replace(p.body(""), `"`+p.model+`"`, `"`+f.upstream(p.model)+`"`, 1)
	if s.Target != f.path+"/chat/completions" || s.Host != f.Addr || s.Header.Get("authorization") != auth || s.Body != want {
		p.t.Errorf("FALL-2: %s got %s %s %q\n%s\nwant %s %s %q\n%s", slug, s.Host, s.Target, s.Header.Get("authorization"), s.Body,
			f.Addr, f.path+"/chat/completions", auth, want)
	}
}

func fault(f demo.Fault, after int) http.HandlerFunc {
	return demo.New(demo.Config{Name: "faulty", Behaviour: demo.Behaviour{Fault: f, FaultAfter: after}}).ServeHTTP
}

// FALL-1: how many attempts, and which.
func TestAttempts(t *testing.T) {
	t.Parallel()
	t.Run("FALL-2 the whole chain", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		p.fail(503, "p3")
		a := p.post(chatPath+"?n=1&a=%2F", p.body(""))
		a.want(t, 200, "p3", 4)
		for _, f := range p.fakes {
			s := p.last(f.slug)
			want := strings.Replace(p.body(""), `"`+p.model+`"`, `"`+f.upstream(p.model)+`"`, 1)
			if s.Host != f.Addr || s.Target != f.path+"/chat/completions?n=1&a=%2F" || s.Body != want || strings.TrimPrefix(s.Header.Get("authorization"), "Bearer ") != f.key {
				t.Errorf("FALL-2: %s got %s %s %v\n%s", f.slug, s.Host, s.Target, s.Header, s.Body)
			}
			if _, has := s.Header["Authorization"]; has && f.key == "" {
				t.Errorf("FALL-2: %s takes no key and got %q", f.slug, s.Header.Get("authorization"))
			}
		}
		if got, want := outcomes(p.event(a)), "p0 status 503, p1 status 503, p2 status 503, p3 ok 200"; got != want {
			t.Errorf("the event's attempts are %q, want %q", got, want)
		}
	})
	for _, tc := range []struct {
		name, more string
		headers    []string
		first      string
	}{
		{"SEL-8 allow_fallbacks false", `,"provider":{"allow_fallbacks":false}`, nil, "p0"},
		{"SEL-8 pin in the body", `,"provider":"p1"`, nil, "p1"},
		{"SEL-8 pin in a header", "", []string{"X-Provider", "P2"}, "p2"},
		{"SEL-6 ignore alone", `,"provider":{"ignore":["p0"]}`, nil, "p1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.fail(503)
			a := p.chat(tc.more, tc.headers...)
			a.want(t, 503, tc.first, 1)
			if got, want := outcomes(p.event(a)), tc.first+" status 503"; got != want {
				t.Errorf("the event's attempts are %q, want %q", got, want)
			}
		})
	}
	t.Run("SEL-14 a provider twice, six attempts at most", func(t *testing.T) {
		t.Parallel()
		p, other := newProbe(t), newProbe(t)
		p.fail(503)
		other.fail(500)
		a := p.chat(`,"models":["` + other.model + `"]`)
		if a.Status != 500 || a.Attempts() != "6" || a.Provider() != "p1" {
			t.Errorf("got %d from %s after %s attempts, want the sixth one's 500\n%s", a.Status, a.Provider(), a.Attempts(), a.Body)
		}
		want := "p0 status 503, p1 status 503, p2 status 503, p3 status 503, p0 status 500, p1 status 500"
		if got := outcomes(p.event(a)); got != want {
			t.Errorf("the event's attempts are %q, want %q", got, want)
		}
		for i, want := range []int{1, 1, 0, 0} {
			slug := fmt.Sprintf("p%d", i)
			if got := len(other.seen(slug)); got != want {
				t.Errorf("%s got %d requests for the other model, want %d", slug, got, want)
			}
		}
		if s := other.seen("p0"); len(s) == 1 && s[0].Body != strings.Replace(p.body(""), `"`+p.model+`"`, `"up-p0/`+other.model+`"`, 1) {
			t.Errorf("REQ-1: the fifth attempt's body is %s", s[0].Body)
		}
	})
	t.Run("SEL-14 the other model serves", func(t *testing.T) {
		t.Parallel()
		p, other := newProbe(t), newProbe(t)
		p.fail(503)
		a := p.chat(`,"models":["` + other.model + `"]`)
		a.want(t, 200, "p0", 5)
		if e := p.event(a); e.Data.Model != other.model || e.Data.UpstreamModel != "up-p0/"+other.model || e.Data.RequestedModel != p.model {
			t.Errorf("the event says %s (%s), asked for %s", e.Data.Model, e.Data.UpstreamModel, e.Data.RequestedModel)
		}
	})
}
