package sinks

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/test/harness"
	"github.com/shunt-gateway/shunt/test/loglines"
)

// ingest is a receiver of CloudEvents that keeps each source and id once. answer
// says what it does with a request before that; nil or 0: takes it.
type ingest struct {
	mu       sync.Mutex
	answer   func(r *http.Request, ids []string) int
	requests []string // "content-type: id id …"
	events   map[string]map[string]any
	headers  []http.Header
}

func (g *ingest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var list []map[string]any
	kind := r.Header.Get("Content-Type")
	switch kind {
	case "application/cloudevents+json":
		list = []map[string]any{{}}
		err = json.Unmarshal(body, &list[0])
	case "application/cloudevents-batch+json":
		err = json.Unmarshal(body, &list)
	default:
		err = errors.New("media type")
	}
	if err != nil || r.Method != http.MethodPost {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var ids []string
	for _, e := range list {
		ids = append(ids, e["id"].(string))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests = append(g.requests, kind[len("application/"):]+": "+strings.Join(ids, " "))
	g.headers = append(g.headers, r.Header)
	status := 0
	if g.answer != nil {
		status = g.answer(r, ids)
	}
	if status == 0 || status == http.StatusNoContent {
		status = http.StatusNoContent
		for _, e := range list {
			g.events[e["source"].(string)+"/"+e["id"].(string)] = e
		}
	}
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "0")
	}
	if status == http.StatusFound {
		w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
	}
	w.WriteHeader(status)
}

func (g *ingest) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.events)
}

func receiver(t *testing.T, answer func(r *http.Request, ids []string) int) (*ingest, string) {
	t.Helper()
	g := &ingest{answer: answer, events: make(map[string]map[string]any)}
	srv := httptest.NewServer(g)
	t.Cleanup(srv.Close)
	return g, srv.URL + "/api/v1/events"
}

func TestHTTPOneByOne(t *testing.T) {
	g, url := receiver(t, nil)
	s, _ := open(t, configured(t, `http: {url: "`+url+`", headers: {authorization: "Bearer ${TOKEN}"}}`), map[string]string{"TOKEN": "sekret"})
	deliver(t, s, 0, 3)
	if err := s.Deliver(bounded(t), message(0)); err != nil { // again
		t.Fatal(err)
	}
	if want := []string{"cloudevents+json: id-0", "cloudevents+json: id-1", "cloudevents+json: id-2", "cloudevents+json: id-0"}; !slices.Equal(g.requests, want) {
		t.Errorf("requests %q", g.requests)
	}
	if len(g.events) != 3 || g.headers[0].Get("Authorization") != "Bearer sekret" {
		t.Errorf("%d events, headers %v", len(g.events), g.headers[0])
	}
}

func TestHTTPBatches(t *testing.T) {
	g, url := receiver(t, nil)
	s, _ := open(t, configured(t, `http: {url: "`+url+`", batch: 4}`), nil)
	deliver(t, s, 0, 9)
	want := []string{"cloudevents-batch+json: id-0 id-1 id-2 id-3", "cloudevents-batch+json: id-4 id-5 id-6 id-7", "cloudevents-batch+json: id-8"}
	if !slices.Equal(g.requests, want) {
		t.Errorf("requests %q", g.requests)
	}
}

// OpenMeter asks for a subject.
func TestHTTPAnonymous(t *testing.T) {
	g, url := receiver(t, nil)
	s, _ := open(t, configured(t, `http: {url: "`+url+`", batch: 10, anonymous: nobody}`), nil)
	if errs := s.DeliverAll(bounded(t), []billing.Message{message(1), nobody(2)}); errs != nil {
		t.Fatal(errs)
	}
	if a, b := g.events["shunt/a/id-1"]["subject"], g.events["shunt/a/id-2"]["subject"]; a != "caller-1" || b != "nobody" {
		t.Errorf("subjects %v, %v", a, b)
	}
	if d := g.events["shunt/a/id-2"]["data"].(map[string]any); d["amount"] != "0.1" || d["subject"] != "not this" {
		t.Errorf("data %v", d)
	}
}

// Outages are waited out: no event is refused for one. What is wrong with the
// configuration, or with the receiver's, is one too: somebody mends it.
func TestHTTPOutages(t *testing.T) {
	for _, status := range []int{302, 401, 402, 403, 404, 405, 407, 408, 410, 412, 425, 429, 431, 451, 501, 502, 503, 504, 507, 520} {
		n := 0
		g, url := receiver(t, func(*http.Request, []string) int {
			if n++; n <= 5 {
				return status
			}
			return 0
		})
		s, lines := open(t, configured(t, `http: {url: "`+url+`", batch: 2}`), nil)
		deliver(t, s, 0, 2)
		if len(g.requests) != 6 || !strings.Contains(lines.String(), fmt.Sprint("answered ", status)) || !strings.Contains(lines.String(), "delivers again") {
			t.Errorf("%d: %d requests, logged %s", status, len(g.requests), lines)
		}
		if since, failures := s.(billing.Patient).Outage(); !since.IsZero() || failures != 5 {
			t.Errorf("%d: outage since %v, %d failures", status, since, failures)
		}
	}
}

// A status about the event is permanent; a 500, which may be about it, is tried a few
// times.
func TestHTTPErrors(t *testing.T) {
	for status, want := range map[int]struct {
		requests int
		refused  bool
	}{
		400: {1, true}, 409: {1, true}, 413: {1, true}, 415: {1, true}, 422: {1, true}, 500: {errorTries, false},
	} {
		g, url := receiver(t, func(*http.Request, []string) int { return status })
		s, _ := open(t, configured(t, `http: {url: "`+url+`?key=hunter2"}`), nil)
		err := s.Deliver(bounded(t), message(0))
		if err == nil || errors.Is(err, billing.ErrRefused) != want.refused || len(g.requests) != want.requests {
			t.Errorf("%d: %d requests, %v", status, len(g.requests), err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%d: a query is shown: %v", status, err)
		}
	}
}

// The receiver says when to come back, in seconds or as a date.
func TestHTTPRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, "900": 15 * time.Minute, "86400": 15 * time.Minute, "": 0, "-1": 0, "soon": 0, "99999999999999": 0,
		"Sun, 22 Nov 2026 10:00:30 GMT": 30 * time.Second, "Sun, 22 Nov 2026 09:59:30 GMT": 0, "Mon, 23 Nov 2026 10:00:30 GMT": 15 * time.Minute,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	asked := errors.New("asked")
	o := newOutages(slog.New(slog.DiscardHandler))
	o.pauses = quick
	// A wait of an hour, which the context ends.
	ctx, cancel := context.WithCancel(t.Context())
	err := o.persist(ctx, func() (time.Duration, error) { cancel(); return time.Hour, fmt.Errorf("%w: %w", errOutage, asked) })
	if !errors.Is(err, context.Canceled) || !errors.Is(err, asked) {
		t.Errorf("%v", err)
	}
}

// One event that is refused does not take its batch along.
func TestHTTPRefusedInABatch(t *testing.T) {
	g, url := receiver(t, func(_ *http.Request, ids []string) int {
		if slices.Contains(ids, "id-5") || slices.Contains(ids, "id-6") {
			return http.StatusBadRequest
		}
		return 0
	})
	s, _ := open(t, configured(t, `http: {url: "`+url+`", batch: 16}`), nil)
	errs := s.DeliverAll(bounded(t), messages(0, 12))
	for i := range 12 {
		if bad := i == 5 || i == 6; bad != errors.Is(errs[i], billing.ErrRefused) || !bad && errs[i] != nil {
			t.Errorf("message %d: %v", i, errs[i])
		}
	}
	if len(g.events) != 10 {
		t.Errorf("%d events, want 10", len(g.events))
	}
}

// A token that is rotated late costs no event and no order: the batch waits for the new
// one, and is not tried event by event.
func TestHTTPRotatedToken(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	must(os.WriteFile(token, []byte("old"), 0o600))
	refused := make(chan struct{})
	var once sync.Once
	g, url := receiver(t, func(r *http.Request, _ []string) int {
		if r.Header.Get("Authorization") != "new" {
			once.Do(func() { close(refused) })
			return http.StatusUnauthorized
		}
		return 0
	})
	s, _ := open(t, configured(t, `http: {url: "`+url+`", batch: 16, headers: {authorization: {file: `+token+`}}}`), nil)
	done := make(chan []error, 1)
	go func() { done <- s.DeliverAll(bounded(t), messages(0, 12)) }()
	<-refused
	must(os.WriteFile(token, []byte("new"), 0o600))
	if errs := <-done; errs != nil || g.count() != 12 {
		t.Errorf("%d events, %v", g.count(), errs)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.requests {
		if r != g.requests[0] {
			t.Errorf("request %q", r)
		}
	}
}

// What does not fit into one request fits into two.
func TestHTTPTooLargeABatch(t *testing.T) {
	g, url := receiver(t, func(_ *http.Request, ids []string) int {
		if len(ids) > 3 {
			return http.StatusRequestEntityTooLarge
		}
		return 0
	})
	s, _ := open(t, configured(t, `http: {url: "`+url+`", batch: 16}`), nil)
	deliver(t, s, 0, 12)
	if g.count() != 12 || g.requests[1] != "cloudevents-batch+json: id-0 id-1 id-2 id-3 id-4 id-5" {
		t.Errorf("%d events, requests %q", g.count(), g.requests)
	}
}

// A receiver that takes the event and then stalls gets it again, and keeps one.
func TestHTTPStall(t *testing.T) {
	first := true
	release := make(chan struct{})
	var g *ingest
	g, url := receiver(t, func(r *http.Request, ids []string) int {
		if !first {
			return 0
		}
		first = false
		g.events["shunt/a/"+ids[0]] = map[string]any{}
		<-r.Context().Done()
		close(release)
		return 0
	})
	s, _ := open(t, configured(t, `http: {url: "`+url+`", timeout: 50ms}`), nil)
	deliver(t, s, 0, 1)
	<-release
	g.mu.Lock()
	defer g.mu.Unlock()
	// More than two where the machine is slower than the timeout.
	if len(g.requests) < 2 || len(g.events) != 1 {
		t.Errorf("%d requests, %d events", len(g.requests), len(g.events))
	}
}

// A receiver that is not there yet is waited for, and one that never comes until
// the caller or Close ends it.
func TestHTTPNobodyThere(t *testing.T) {
	s, lines := open(t, configured(t, `http: {url: "http://`+harness.FreeAddr(t)+`/?key=hunter2"}`), nil)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 2)
	go func() { got <- s.Deliver(ctx, message(0)) }()
	eventually(t, "an error in the log", func() bool { return strings.Contains(lines.String(), "cannot deliver") })
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) || strings.Contains(err.Error()+lines.String(), "hunter2") {
		t.Errorf("cancelled: %v; logged %s", err, lines)
	}
	go func() { got <- s.Deliver(context.Background(), message(0)) }()
	closeSink(t, s)
	if err := <-got; !errors.Is(err, billing.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// A token in a file is read for each request; one that is missing is an outage.
func TestHTTPSecretFile(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	g, url := receiver(t, nil)
	s, _ := open(t, configured(t, `http: {url: "`+url+`", headers: {x-key: {file: `+token+`}}}`), nil)
	done := make(chan error, 1)
	go func() { done <- s.Deliver(context.Background(), message(0)) }()
	for i, value := range []string{"one", "two"} {
		must(os.WriteFile(token+"~", []byte(value+"\n"), 0o600))
		must(os.Rename(token+"~", token))
		if i == 1 {
			deliver(t, s, 1, 2)
		} else if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := g.headers[i].Get("X-Key"); got != value {
			t.Errorf("key %q, want %q", got, value)
		}
	}
}

func TestHTTPTLS(t *testing.T) {
	g := &ingest{events: make(map[string]map[string]any)}
	srv := httptest.NewTLSServer(g)
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600))
	s, _ := open(t, configured(t, `http: {url: "`+srv.URL+`", tls: {ca: `+ca+`}}`), nil)
	deliver(t, s, 0, 1)
	if g.count() != 1 {
		t.Errorf("%d events", g.count())
	}
	log, _ := loglines.New()
	for _, bad := range []string{ca + "x", os.DevNull} {
		if _, err := Open(configured(t, `http: {url: "`+srv.URL+`", tls: {ca: `+bad+`}}`), nil, log); err == nil || !strings.Contains(err.Error(), "tls.ca") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
