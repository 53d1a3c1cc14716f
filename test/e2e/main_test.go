// Package e2e tries to break the product from outside: a real Envoy, the shunt
// binary, fake providers, real clients. A case's name carries the id of the rule
// that it is about.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/envoy/runner"
	"github.com/shunt-gateway/shunt/test/harness"
)

func TestMain(m *testing.M) {
	runner.GuardMain()
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("8") // tests wait for timeouts more than they work
	}
	harness.AtExit(closeLab)
	os.Exit(harness.Build(m))
}

// answer is what a client got.
type answer struct {
	Status int
	Header http.Header
	Body   string
	Err    error // of reading the body: it was broken off
}

// ID is the request's id.
func (a answer) ID() string { return a.Header.Get("x-request-id") }

// Provider is who served.
func (a answer) Provider() string { return a.Header.Get("x-provider") }

// Attempts is how many attempts were made, as the client is told.
func (a answer) Attempts() string { return a.Header.Get("x-attempts") }

// client neither asks for compression nor follows anything.
var client = &http.Client{
	Timeout:       2 * time.Minute,
	Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// newPost makes a request with a body as it stands; headers are name, value, name,
// value.
func newPost(t testing.TB, url, body string, headers ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("content-type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return req
}

func post(t testing.TB, url, body string, headers ...string) answer {
	t.Helper()
	return do(t, newPost(t, url, body, headers...))
}

func get(t testing.TB, url string, headers ...string) answer {
	t.Helper()
	req := newPost(t, url, "", headers...)
	req.Method, req.Body, req.ContentLength = http.MethodGet, nil, 0
	return do(t, req)
}

func do(t testing.TB, req *http.Request) answer {
	t.Helper()
	return doWith(t, client, req)
}

func doWith(t testing.TB, c *http.Client, req *http.Request) answer {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body), err}
}

// begin sends a request and returns when the answer's headers are there. leave
// ends it as a client does that goes away.
func begin(t testing.TB, req *http.Request) (resp *http.Response, leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(req.Context())
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		cancel()
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	t.Cleanup(func() { cancel(); _ = resp.Body.Close() })
	return resp, cancel
}

func readAll(req *http.Request) string {
	body, _ := io.ReadAll(req.Body)
	return string(body)
}

func contextWithCancel(req *http.Request) (context.Context, context.CancelFunc) {
	return context.WithCancel(req.Context())
}

// readUntil reads until it has seen text.
func readUntil(r io.Reader, text string) error {
	var seen []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(seen, []byte(text)) {
		n, err := r.Read(buf)
		seen = append(seen, buf[:n]...)
		if err != nil {
			return fmt.Errorf("after %q: %w", seen, err)
		}
	}
	return nil
}

func errOr(err error, text string) error {
	if err != nil {
		return err
	}
	return errors.New(text)
}
