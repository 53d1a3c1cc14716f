// Package chaos kills parts of a running shunt, fills its disk and takes its sinks
// away, and counts events afterwards: as many as there were admitted requests,
// whatever happened (BILL-1).
//
// SHUNT_TEST_LONG=1 runs each case more often.
package chaos

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/shunt-gateway/shunt/extproc/admission"
	"github.com/shunt-gateway/shunt/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Build(m)) }

// rounds is how often a case is run.
func rounds() int {
	if os.Getenv("SHUNT_TEST_LONG") != "" {
		return 20
	}
	return 1
}

const (
	// An answer's usage is always the same, so that its price is: 11 × 1 + 22 × 2,
	// per million.
	usage  = `"usage":{"prompt_tokens":11,"completion_tokens":22,"total_tokens":33}`
	amount = "0.000055"

	body   = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	stream = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`
)

// provider answers at once, and streams as long as the test likes.
type provider struct {
	*harness.Server
	gate chan struct{} // each receive lets one chunk go; closed: the rest
}

func newProvider(t *testing.T) *provider {
	p := &provider{gate: make(chan struct{})}
	p.Server = harness.StartServer(t, http.HandlerFunc(p.serve), nil)
	return p
}

func (p *provider) serve(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !bytes.Contains(b, []byte(`"stream":true`)) {
		w.Header().Set("content-type", "application/json")
		_, _ = io.WriteString(w, `{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],`+usage+`}`)
		return
	}
	w.Header().Set("content-type", "text/event-stream")
	for range 3 {
		_, _ = io.WriteString(w, `data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"}}]}`+"\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-p.gate:
		case <-r.Context().Done():
			return
		}
	}
	_, _ = io.WriteString(w, `data: {"id":"x","object":"chat.completion.chunk","choices":[],`+usage+"}\n\ndata: [DONE]\n\n")
}

// config is a configuration with one provider; billing is what stands below it.
func (p *provider) config(billing string, more ...string) string {
	return fmt.Sprintf(`billing: {%s}
providers:
  p: {endpoint: "http://%s", timeout: {idle: 10m, first_byte: 60s}}
models:
  m: {price: {prompt: 1, completion: 2}, offers: [{provider: p, model: m, price: {prompt: 1, completion: 2}}]}
`, billing, p.Addr) + strings.Join(more, "\n")
}

// Envoy's signs of life come four times within a settle timeout; on a busy machine they
// may be a second late.
const quick = "sinks: [{file: events.jsonl}], settle_timeout: 4s"

// start runs shunt in dir. Start it there again after a Kill.
func start(t *testing.T, dir, config string) *harness.Shunt {
	t.Helper()
	return harness.Run(t, config, harness.Options{Dir: dir})
}

// chat makes one request and returns its id and status; 0 where there was no answer.
func chat(s *harness.Shunt, request string) (id string, status int) {
	resp, err := http.Post(s.URL+"/v1/chat/completions", "application/json", strings.NewReader(request))
	if err != nil {
		return "", 0
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return resp.Header.Get("x-request-id"), 0
	}
	return resp.Header.Get("x-request-id"), resp.StatusCode
}

// streaming is a stream that has begun.
type streaming struct {
	id   string
	resp *http.Response
	text *bufio.Reader
}

func begin(t *testing.T, s *harness.Shunt) *streaming {
	t.Helper()
	resp, err := http.Post(s.URL+"/v1/chat/completions", "application/json", strings.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	st := &streaming{resp.Header.Get("x-request-id"), resp, bufio.NewReader(resp.Body)}
	if line, err := st.text.ReadString('\n'); err != nil || resp.StatusCode != 200 || !strings.HasPrefix(line, "data: ") {
		t.Fatalf("stream: %d, %q, %v", resp.StatusCode, line, err)
	}
	return st
}

// rest reads the stream to its end.
func (st *streaming) rest() (string, error) {
	b, err := io.ReadAll(st.text)
	return string(b), err
}

// load makes requests until stop is called, which returns the ids by status.
func load(s *harness.Shunt) (stop func() map[string]int) {
	const clients = 8
	var mu sync.Mutex
	seen := map[string]int{}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				id, status := chat(s, body)
				if id != "" {
					mu.Lock()
					seen[id] = status
					mu.Unlock()
				}
			}
		})
	}
	return func() map[string]int { close(done); wg.Wait(); return seen }
}

// owed are the requests that the log of a killed shunt holds: open ones, and those
// whose event is not with every sink.
func owed(t *testing.T, dir string) map[string]bool {
	t.Helper()
	after := t.TempDir()
	if err := os.CopyFS(after, os.DirFS(filepath.Join(dir, ".shunt", "billing"))); err != nil {
		t.Fatal(err)
	}
	b, err := admission.Open(admission.Options{Dir: after, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(t.Context()) }()
	ids := map[string]bool{}
	silent, err := b.Silent(-1<<62, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range silent {
		ids[r.ID] = true
	}
	if b.Stats().Ready == 0 {
		return ids
	}
	events, err := b.Ready(t.Context(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		ids[e.ID] = true
	}
	return ids
}

// events are the sink's, by id. One that was delivered twice must be the same.
func events(t *testing.T, path string) map[string]harness.Event {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	seen := map[string]string{}
	all := map[string]harness.Event{}
	for line := range strings.Lines(string(data)) {
		var e harness.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			continue // torn by a kill
		}
		if was, twice := seen[e.ID]; twice && was != line {
			t.Errorf("two events for %s:\n%s%s", e.ID, was, line)
		}
		seen[e.ID] = line
		all[e.ID] = e
	}
	return all
}

// settled waits until each of these requests has its event, and returns all events.
func settled(t *testing.T, path string, ids map[string]bool) map[string]harness.Event {
	t.Helper()
	var all map[string]harness.Event
	harness.Eventually(t, "every admitted request has an event", func() error {
		all = events(t, path)
		missing := 0
		for id := range ids {
			if _, ok := all[id]; !ok {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d have none", missing, len(ids))
		}
		return nil
	})
	return all
}

// answered are the ids of requests that were answered 200.
func answered(seen map[string]int) map[string]bool {
	ids := map[string]bool{}
	for id, status := range seen {
		if status == http.StatusOK {
			ids[id] = true
		}
	}
	return ids
}

// check says what an event must be, whatever was killed.
func check(t *testing.T, all map[string]harness.Event, allowed ...string) {
	t.Helper()
	count := map[string]int{}
	for id, e := range all {
		count[e.Data.Status]++
		switch {
		case !slices.Contains(allowed, e.Data.Status):
			t.Errorf("%s is %s, want one of %v", id, e.Data.Status, allowed)
		case e.Data.Status == "completed" && (e.Data.Amount != amount || e.Data.Usage.Source != "reported"):
			t.Errorf("%s costs %s by %+v, want %s", id, e.Data.Amount, e.Data.Usage, amount)
		case e.Data.Status == "unsettled" && e.Data.Amount != "0":
			t.Errorf("%s is unsettled and costs %s", id, e.Data.Amount)
		}
	}
	t.Logf("events: %v", count)
}

// envoyPID is the Envoy of a running shunt.
func envoyPID(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, ".shunt", "run", "envoy", "envoy.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Target struct{ PID int } }
	if err := json.Unmarshal(b, &r); err != nil || r.Target.PID == 0 {
		t.Fatalf("%v in %s", err, b)
	}
	return r.Target.PID
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
