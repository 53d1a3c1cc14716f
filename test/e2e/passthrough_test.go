package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
)

// recorder answers everything, and remembers it.
type recorder struct {
	mu   sync.Mutex
	seen []sent
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s := sent{Method: req.Method, Host: req.Host, Target: req.RequestURI, Header: req.Header.Clone(), Body: readAll(req)}
	r.mu.Lock()
	r.seen = append(r.seen, s)
	r.mu.Unlock()
	w.Header().Set("content-type", "application/json")
	w.Header().Set("x-theirs", "1")
	w.WriteHeader(http.StatusTeapot)
	_, _ = fmt.Fprint(w, `{"choices":[],"usage":{}}`)
}

func (r *recorder) last() sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[len(r.seen)-1]
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

// API-1: paths under passthrough go to their endpoint untouched; others are 404.
func TestPassthrough(t *testing.T) {
	t.Parallel()
	exact, prefix := &recorder{}, &recorder{}
	es, ps := harness.StartServer(t, exact, nil), harness.StartServer(t, prefix, nil)
	l := newLab(t, labOptions{Extra: fmt.Sprintf("passthrough:\n  - {path: /v1/embeddings, endpoint: http://%s}\n  - {prefix: /v1/audio/, endpoint: http://%s}\n", es.Addr, ps.Addr)})
	big := strings.Repeat("x", 3<<20)
	for _, tc := range []struct {
		name, method, path, body string
		to                       *recorder
		host                     string
	}{
		{"API-1 exact", "POST", "/v1/embeddings", ` {"model" : "m0", "provider":"p0", "model":1e0 }`, exact, es.Addr},
		{"API-1 exact with a query", "POST", "/v1/embeddings?a=%2F&b=c%20d&&", "not JSON", exact, es.Addr},
		{"API-1 exact, GET", "GET", "/v1/embeddings", "", exact, es.Addr},
		{"API-1 prefix", "PUT", "/v1/audio/speech/a%2Fb?x", "{}", prefix, ps.Addr},
		{"API-1 prefix, large", "POST", "/v1/audio/transcriptions", big, prefix, ps.Addr},
		{"API-1 prefix alone", "DELETE", "/v1/audio/", "", prefix, ps.Addr},
		{"API-1 below an exact path", "POST", "/v1/embeddings/x", "{}", nil, ""},
		{"API-1 beside a prefix", "POST", "/v1/audio", "{}", nil, ""},
		{"API-1 elsewhere", "POST", "/v1/images", "{}", nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := exact.count() + prefix.count()
			req := newPost(t, l.URL+tc.path, tc.body, append(internal, "authorization", "Bearer sk-client", "x-provider", "p0", "x-own", "kept", "accept-encoding", "br")...)
			req.Method = tc.method
			a := do(t, req)
			if tc.to == nil {
				a.wantError(t, 404, "not_found", "")
				if exact.count()+prefix.count() != before {
					t.Error("it went somewhere")
				}
				return
			}
			if a.Status != http.StatusTeapot || a.Body != `{"choices":[],"usage":{}}` || a.Header.Get("x-theirs") != "1" || a.ID() == "" {
				t.Errorf("got %d %v\n%s", a.Status, a.Header, a.Body)
			}
			s := tc.to.last()
			if s.Method != tc.method || s.Target != tc.path || s.Body != tc.body || s.Host != tc.host {
				t.Errorf("it got %s %s from %s\n%s", s.Method, s.Target, s.Host, clip(s.Body))
			}
			for name, want := range map[string]string{"authorization": "Bearer sk-client", "x-own": "kept", "x-provider": "p0", "accept-encoding": "br"} {
				if s.Header.Get(name) != want {
					t.Errorf("it got %s %q, want the client's %q", name, s.Header.Get(name), want)
				}
			}
			for name := range s.Header {
				if n := strings.ToLower(name); strings.HasPrefix(n, "x-envoy-") || strings.HasPrefix(n, "x-shunt-") || n == "shunt-explain" {
					t.Errorf("SEC-1: it got %s: %q", name, s.Header[name])
				}
			}
		})
	}
	if events, err := l.AllEvents(); err != nil || len(events) != 0 {
		t.Errorf("BILL-1: passthrough has %d events, %v", len(events), err)
	}
}
