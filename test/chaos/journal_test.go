package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
)

// held is a provider that serves a request by its model, and only when the gate is
// open.
type held struct {
	*harness.Server
	mu    sync.Mutex
	gate  chan struct{}
	asked atomic.Int64
}

// Ways to answer, and so the models of held.
var ways = map[string]func(w http.ResponseWriter){
	"json": func(w http.ResponseWriter) {
		w.Header().Set("content-type", "application/json")
		_, _ = io.WriteString(w, `{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],`+usage+`}`)
	},
	"second": nil, // like json, after another provider has failed
	"stream": func(w http.ResponseWriter) { event(w, chunk, last, "[DONE]") },
	"tail": func(w http.ResponseWriter) { // no blank line, and no newline, behind the usage
		event(w, chunk)
		_, _ = io.WriteString(w, "data: "+last)
	},
	"silent": func(w http.ResponseWriter) { event(w, slices.Repeat([]string{chunk}, 40)...) }, // reports no usage
	"error":  func(w http.ResponseWriter) { event(w, chunk, `{"error":{"message":"no"}}`) },
	"broken": func(w http.ResponseWriter) {
		event(w, slices.Repeat([]string{chunk}, 40)...)
		panic(http.ErrAbortHandler)
	},
	"refused": func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) },
	"left":    func(w http.ResponseWriter) { event(w, slices.Repeat([]string{chunk}, 40)...) }, // by its client
}

const (
	chunk = `{"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"}}]}`
	last  = `{"id":"x","object":"chat.completion.chunk","choices":[],` + usage + "}"
)

func event(w http.ResponseWriter, data ...string) {
	w.Header().Set("content-type", "text/event-stream")
	for _, d := range data {
		_, _ = io.WriteString(w, "data: "+d+"\n\n")
	}
	_ = http.NewResponseController(w).Flush()
}

func newHeld(t *testing.T) *held {
	h := &held{gate: make(chan struct{})}
	h.Server = harness.StartServer(t, http.HandlerFunc(h.serve), nil)
	return h
}

func (h *held) serve(w http.ResponseWriter, r *http.Request) {
	var body struct{ Model string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return
	}
	if strings.HasPrefix(r.URL.Path, "/bad/") {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	h.mu.Lock()
	gate := h.gate
	h.mu.Unlock()
	h.asked.Add(1)
	if body.Model == "left" { // its client reads the beginning
		ways["left"](w)
	}
	select {
	case <-gate:
	case <-r.Context().Done():
		return
	}
	switch body.Model {
	case "left":
		<-r.Context().Done()
	case "second":
		ways["json"](w)
	default:
		ways[body.Model](w)
	}
}

// open lets all answers go; shut holds the next ones.
func (h *held) open() { close(h.gate) }
func (h *held) shut() { h.mu.Lock(); h.gate = make(chan struct{}); h.mu.Unlock() }

func (h *held) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, `billing: {sinks: [{file: events.jsonl}], settle_timeout: 30s}
routing: {health: {explore: 0%%}}
providers:
  p: {endpoint: "http://%s", timeout: {idle: 10m, first_byte: 60s}}
  bad: {endpoint: "http://%s/bad"}
models:
`, h.Addr, h.Addr)
	for way := range ways {
		first := ""
		if way == "second" {
			first = "{provider: bad, model: second}, "
		}
		fmt.Fprintf(&b, "  %s: {price: {prompt: 1, completion: 2}, default_providers: [%sp], offers: [%s{provider: p, model: %s, price: {prompt: 1, completion: 2}}]}\n",
			way, strings.TrimSuffix(strings.Replace(first, "{provider: bad, model: second}", "bad", 1), " "), first, way)
	}
	return b.String()
}

// secret is what no record may hold.
const secret = "the-prompt-and-the-key"

// all makes a request of each kind, and returns when the provider has them all. finish
// waits for their ends, and returns their ids.
func (h *held) all(t *testing.T, s *harness.Shunt) (finish func() map[string]string) {
	t.Helper()
	before := h.asked.Load()
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]string{}
	began := make(chan struct{})
	for way := range ways {
		wg.Go(func() {
			streamed := way != "json" && way != "second" && way != "refused"
			body := fmt.Sprintf(`{"model":%q,"stream":%v,"messages":[{"role":"user","content":%q}]}`, way, streamed, secret)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/chat/completions", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			if way == "left" {
				req = req.WithContext(ctx)
			}
			req.Header.Set("authorization", "Bearer "+secret)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(way, err)
				return
			}
			mu.Lock()
			ids[way] = resp.Header.Get("x-request-id")
			mu.Unlock()
			if way == "left" {
				if _, err := io.ReadFull(resp.Body, make([]byte, 40*len(chunk))); err != nil {
					t.Error(way, err)
				}
				close(began)
			}
			_, _ = io.Copy(io.Discard, resp.Body) // some of them break off
			_ = resp.Body.Close()
		})
	}
	harness.Eventually(t, "the provider has all requests", func() error { return atLeast(int(h.asked.Load()-before), len(ways)) })
	<-began
	return func() map[string]string { leave(); wg.Wait(); return ids }
}

// telling is what an event says, apart from when and for which request.
func telling(e harness.Event) string {
	d := e.Data
	var tries []string
	for _, a := range d.Attempts {
		tries = append(tries, fmt.Sprint(a.Provider, " ", a.Outcome, " ", a.Status))
	}
	return fmt.Sprintf("%s %s %v usage %+v amount %s list %s note %q", d.Status, d.Provider, tries, d.Usage, d.Amount, d.ListAmount, d.Note)
}

// What ends while no shunt runs is settled by the next one to the same amount, and with
// the same account of it, as if it had been told at once.
func TestEndedWhileAway(t *testing.T) {
	h, dir := newHeld(t), t.TempDir()
	s := start(t, dir, h.config())
	sink := filepath.Join(dir, "events.jsonl")
	finish := h.all(t, s)
	h.open()
	told := finish()
	want := map[string]string{}
	all := settled(t, sink, set(told))
	for way, id := range told {
		want[way] = telling(all[id])
	}
	h.shut()
	finish = h.all(t, s)
	s.Kill()
	h.open()
	untold := finish()
	again := start(t, dir, h.config())
	all = settled(t, sink, set(untold))
	for way, id := range untold {
		if got := telling(all[id]); got != want[way] {
			t.Errorf("%s: ended while no shunt ran:\n%s\nended under its eyes:\n%s", way, got, want[way])
		}
	}
	if n := len(all); n != 2*len(ways) {
		t.Errorf("%d events for %d requests", n, 2*len(ways))
	}
	t.Log(want)
	checkJournal(t, dir)
	again.Stop(t)
}

func set(ids map[string]string) map[string]bool {
	out := map[string]bool{}
	for _, id := range ids {
		out[id] = true
	}
	return out
}

// checkJournal: nobody else may read it, and what stands in it may be read.
func checkJournal(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, ".shunt", "journal", "ends.jsonl")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 || len(data) == 0 {
		t.Errorf("%s is %v of %d bytes", path, info.Mode(), len(data))
	}
	if strings.Contains(string(data), secret) {
		t.Errorf("SEC-2: the journal holds a prompt or a key:\n%s", data)
	}
}

// shunt is killed at the moment after ends were reported, so that it has heard of some
// and settled none, or some.
func TestKilledAtTheEnd(t *testing.T) {
	for range rounds() {
		p, dir := newProvider(t), t.TempDir()
		config := p.config("sinks: [{file: events.jsonl}], settle_timeout: 30s")
		sink := filepath.Join(dir, "events.jsonl")
		want := map[string]bool{}
		for range 3 {
			s := start(t, dir, config)
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 10 {
						id, status := chat(s, body)
						if status != http.StatusOK {
							t.Errorf("status %d", status)
						}
						mu.Lock()
						want[id] = true
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			s.Kill()
		}
		start(t, dir, config)
		all := settled(t, sink, want)
		check(t, all, "completed")
		if len(all) != len(want) {
			t.Errorf("%d events for %d requests", len(all), len(want))
		}
	}
}

// The journal gives way to a new one again and again, shunt is killed meanwhile, and
// no end is lost.
func TestJournalRotates(t *testing.T) {
	p, dir := newProvider(t), t.TempDir()
	config := p.config("sinks: [{file: events.jsonl}], settle_timeout: 30s, journal: {path: ends/e.jsonl, rotate: 64KiB}")
	sink := filepath.Join(dir, "events.jsonl")
	parts := func() []string {
		all, err := filepath.Glob(filepath.Join(dir, "ends", "e.jsonl*"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	want := map[string]bool{}
	for round := range 2 {
		s := start(t, dir, config)
		stop := load(s)
		harness.Eventually(t, "the journal is rotated under load", func() error { return atLeast(len(parts()), 2*round+3) })
		s.Kill()
		maps.Copy(want, answered(stop()))
	}
	s := start(t, dir, config)
	all := settled(t, sink, want)
	check(t, all, "completed")
	s.Stop(t) // or one of them might go between the list and the look
	for _, path := range parts() {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s is %v", path, info.Mode())
		}
	}
}
