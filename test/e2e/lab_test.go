package e2e

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

// lab is a shunt in front of providers p0, p1, … whose answers tests write. Its
// models m0, m1, … are alike: every provider serves each, in their order. A test
// takes models of its own, so tests share a lab without seeing each other's
// requests, and what shunt learns from one does not move another's providers.
type lab struct {
	*harness.Shunt
	fakes   []*fake
	options labOptions
	models  int
	taken   atomic.Int64
	calls   calls
}

// labOptions change a lab.
type labOptions struct {
	Providers int    // default 4
	Models    int    // default 8
	Routing   string // settings of routing: "max_attempts: 4"
	Extra     string // more of the configuration
	// Each adds to the providers' configuration by slug: "timeout: {…}".
	Each map[string]string
	// Offer adds to the offers of a provider: ", stream_usage: false".
	Offer map[string]string
	// Endpoint puts another base URL in place of a provider's own.
	Endpoint map[string]string
	Host     map[string]string           // a name for 127.0.0.1 in a provider's base URL
	Certs    map[string]*tls.Certificate // providers that speak TLS
	Harness  harness.Options
}

// keyless is the provider of every lab that takes no key; its base has no path.
const keyless = "p2"

// steady has health change nothing: a case's providers stand in the configured order
// whatever other cases have made of them.
const steady = "health: {measured: false, consecutive_failures: 1000, min_requests: 1000000}"

func startLab(o labOptions) (*lab, error) {
	if o.Providers == 0 {
		o.Providers = 4
	}
	if o.Models == 0 {
		o.Models = 8
	}
	l := &lab{options: o, models: o.Models}
	for i := range o.Providers {
		f, err := startFake(fmt.Sprintf("p%d", i), o.Certs[fmt.Sprintf("p%d", i)])
		if err != nil {
			return nil, err
		}
		f.host = o.Host[f.slug]
		l.fakes = append(l.fakes, f)
	}
	s, err := harness.Start(l.yaml(o), o.Harness)
	l.Shunt = s
	return l, err
}

// newLab is a lab of one test's own.
func newLab(t testing.TB, o labOptions) *lab {
	t.Helper()
	if o.Harness.Dir == "" {
		o.Harness.Dir = t.TempDir()
	}
	l, err := startLab(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(t.Failed()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// yaml is the configuration. Every offer's price differs, and from the models' own.
func (l *lab) yaml(o labOptions) string {
	var y strings.Builder
	y.WriteString("providers:\n")
	var slugs []string
	for _, f := range l.fakes {
		slugs = append(slugs, f.slug)
		url := f.base()
		if other, ok := o.Endpoint[f.slug]; ok {
			url = other
		}
		fmt.Fprintf(&y, "  %s:\n    endpoint: %s\n", f.slug, url)
		if f.key != "" {
			fmt.Fprintf(&y, "    api_key: %s\n", f.key)
		}
		if more := o.Each[f.slug]; more != "" {
			fmt.Fprintf(&y, "    %s\n", more)
		}
	}
	y.WriteString("models:\n")
	for n := range o.Models {
		fmt.Fprintf(&y, "  m%d:\n    price: {prompt: 10, completion: 20}\n    default_providers: [%s]\n    offers:\n", n, strings.Join(slugs, ", "))
		for i, f := range l.fakes {
			fmt.Fprintf(&y, "      - {provider: %s, model: %s, price: {prompt: %d, completion: %d, cache_read: 0.5}, estimate: {ttft: %dms}, apis: [chat, completions, responses]%s}\n",
				f.slug, f.upstream(fmt.Sprintf("m%d", n)), i+1, 2*(i+1), i+1, o.Offer[f.slug])
		}
	}
	y.WriteString("routing: {" + steady + ", explain: true")
	if o.Routing != "" {
		y.WriteString(", " + o.Routing)
	}
	return y.String() + "}\n" + o.Extra
}

func (l *lab) close(failed bool) error {
	err := l.Close()
	if err == nil {
		err = l.calls.settled(l.Shunt)
	}
	if _, script, failed := strings.Cut(l.Output(), "script log: "); failed {
		err = errors.Join(err, fmt.Errorf("the response filter failed: %s", clip(script)))
	}
	for _, f := range l.fakes {
		f.Close()
	}
	if err != nil || failed {
		said := l.Output()
		fmt.Fprintf(os.Stderr, "shunt said, at last:\n%s\n", said[max(0, len(said)-8<<10):])
	}
	return err
}

// fake is a provider: a demo provider that honours shunt's key and base path, unless
// a test has written the answer for a model.
type fake struct {
	*harness.Server
	slug, key, path, scheme, host string
	demo                          *demo.Provider

	mu      sync.Mutex
	scripts map[string]http.HandlerFunc // by model
	seen    map[string][]sent
}

// sent is a request as a provider saw it.
type sent struct {
	Method, Host, Target, Proto string
	Header                      http.Header
	Trailer                     http.Header
	Encoding                    []string // transfer-encoding
	Body                        string
}

func startFake(slug string, cert *tls.Certificate) (f *fake, err error) {
	f = &fake{slug: slug, key: "key-" + slug, path: "/" + slug + "/v1", scheme: "http",
		scripts: map[string]http.HandlerFunc{}, seen: map[string][]sent{}}
	if slug == keyless {
		f.key, f.path = "", ""
	}
	if cert != nil {
		f.scheme = "https"
	}
	f.demo = demo.New(demo.Config{Name: slug, APIKey: f.key, BasePath: f.path})
	f.Server, err = harness.Serve(f, cert)
	return f, err
}

func (f *fake) base() string { return f.scheme + "://" + f.authority() + f.path }

// authority is the provider's host and port, as a Host header has it.
func (f *fake) authority() string {
	if f.host == "" {
		return f.Addr
	}
	_, port, _ := net.SplitHostPort(f.Addr)
	return net.JoinHostPort(f.host, port)
}

// upstream is what the provider calls a model.
func (f *fake) upstream(model string) string { return "up-" + f.slug + "/" + model }

// ServeHTTP implements http.Handler.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, model, _ := strings.Cut(gjson.GetBytes(body, "model").String(), "/")
	s := sent{r.Method, r.Host, r.RequestURI, r.Proto, r.Header.Clone(), r.Trailer.Clone(), r.TransferEncoding, string(body)}
	f.mu.Lock()
	f.seen[model] = append(f.seen[model], s)
	script := f.scripts[model]
	f.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	if script != nil {
		script(w, r)
		return
	}
	f.demo.ServeHTTP(w, r)
}

// The lab that most tests share.
var sharedLab = sync.OnceValues(func() (*lab, error) {
	dir, err := os.MkdirTemp("", "shunt-e2e-")
	if err != nil {
		return nil, err
	}
	l, err := startLab(labOptions{Models: 800, Harness: harness.Options{Dir: dir}})
	theLab.Store(l)
	return l, err
})

var theLab atomic.Pointer[lab]

func closeLab(failed bool) error {
	l := theLab.Load()
	if l == nil || l.Shunt == nil {
		return nil
	}
	return errors.Join(l.close(failed), os.RemoveAll(l.Dir))
}

// calls remembers the requests that went through a lab, to hold its billing events
// against (BILL-1).
type calls struct {
	mu       sync.Mutex
	admitted map[string]bool
	refused  map[string]bool
}

// note sorts a request by what the client was told: one that reached an attempt was
// admitted.
func (c *calls) note(a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.admitted == nil {
		c.admitted, c.refused = map[string]bool{}, map[string]bool{}
	}
	if n := a.Attempts(); n != "" && n != "0" {
		c.admitted[a.ID()] = true
	} else {
		c.refused[a.ID()] = true
	}
}

// settled checks, when shunt has ended, that every admitted request has one event
// and no refused one has.
func (c *calls) settled(s *harness.Shunt) error {
	events, err := s.AllEvents()
	if err != nil {
		return err
	}
	n := map[string]int{}
	for _, e := range events {
		n[e.ID]++
	}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(c.admitted)) {
		if n[id] != 1 {
			errs = append(errs, fmt.Errorf("BILL-1: request %s was admitted and has %d events", id, n[id]))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.refused)) {
		if n[id] != 0 {
			errs = append(errs, fmt.Errorf("BILL-1: request %s was refused and has %d events", id, n[id]))
		}
	}
	return errors.Join(errs...)
}
