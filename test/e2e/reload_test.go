package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
)

// catalog is the hash of the configuration that /readyz names, "" while it is not
// ready.
func (l *lab) catalog() string {
	resp, err := client.Get(l.Admin + "/readyz")
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	var ready struct{ Catalog string }
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(body, &ready) != nil {
		return ""
	}
	return ready.Catalog
}

// reload edits the configuration and waits until it is in force.
func (l *lab) reload(t testing.TB, yaml string) {
	t.Helper()
	before := l.catalog()
	l.Rewrite(t, yaml)
	harness.Eventually(t, "the new configuration is in force", func() error {
		if now := l.catalog(); now == "" || now == before {
			return fmt.Errorf("catalog %.12q", now)
		}
		return nil
	})
}

// without takes a provider out of a lab's configuration, its offers included.
func without(yaml, slug string) string {
	var out []string
	skip := false
	for _, line := range strings.Split(yaml, "\n") {
		if strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") || !strings.HasPrefix(line, " ") {
			skip = line == "  "+slug+":"
		}
		if !skip && !strings.Contains(line, "provider: "+slug+",") {
			out = append(out, line)
		}
	}
	text := strings.Join(out, "\n")
	return strings.ReplaceAll(strings.ReplaceAll(text, "["+slug+", ", "["), ", "+slug, "")
}

// A reload while a stream is on its way does not disturb it, and changes nothing about
// its price (BILL-5). What comes after goes by the new configuration.
func TestReload(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{})
	full := l.yaml(l.options)
	old := l.catalog()
	p := l.probe(t)
	more := make(chan string)
	p.on("p0", func(w http.ResponseWriter, r *http.Request) {
		pieces("text/event-stream", sse("\n", chunkRole))(w, r)
		for text := range more {
			pieces("", text)(w, r)
		}
	})
	resp, _ := begin(t, newPost(t, p.URL+chatPath, p.body(stream)))
	defer func() { _ = resp.Body.Close() }()
	if err := readUntil(resp.Body, chunkRole[1:]); err != nil {
		t.Fatal(err)
	}
	id := resp.Header.Get("x-request-id")

	l.reload(t, strings.ReplaceAll(without(full, "p0"), "{prompt: 10, completion: 20}", "{prompt: 100, completion: 200}"))
	after := p.chat("")
	after.want(t, 200, "p1", 1)
	if e := p.event(after); e.Data.Decision.Catalog == old || e.Data.Decision.Catalog != l.catalog() {
		t.Errorf("BILL-6: the event names catalog %.12s; before it was %.12s, now it is %.12s", e.Data.Decision.Catalog, old, l.catalog())
	}

	more <- sse("\n", chunkWord)
	if err := readUntil(resp.Body, chunkWord[2:]); err != nil {
		t.Errorf("the stream of a provider that is no longer configured: %v", err)
	}
	more <- sse("\n", chunkUsage, done)
	close(more)
	if rest, err := io.ReadAll(resp.Body); err != nil || !strings.HasSuffix(string(rest), "[DONE]\n\n") {
		t.Errorf("the stream of a provider that is no longer configured ended with %q, %v", rest, err)
	}
	if e := p.Event(t, id); e.Data.Decision.Catalog != old || e.Data.Amount != "0.00055" || e.Data.Status != "completed" || e.Data.Provider != "p0" {
		t.Errorf("BILL-5: the event says %s by %s for %s under %.12s", e.Data.Status, e.Data.Provider, e.Data.Amount, e.Data.Decision.Catalog)
	}

	l.Rewrite(t, strings.Replace(full, "endpoint:", "endpiont:", 1))
	harness.Eventually(t, "shunt refuses the edit", func() error {
		if !strings.Contains(l.Output(), "endpiont") {
			return errors.New("it has not said so")
		}
		return nil
	})
	p.chat("").want(t, 200, "p1", 1)

	l.reload(t, full)
	p.on("p0", nil)
	p.chat("").want(t, 200, "p0", 1)
}

// No request fails because of a reload, whichever providers come and go.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{Host: map[string]string{"p3": "localhost"}}) // one that has to be resolved
	full := l.yaml(l.options)
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		p := l.probe(t)
		clients.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				a := p.chat([]string{"", stream, `,"provider":{"order":["p3","p0"]}`}[n%3])
				if a.Status != 200 || a.Err != nil {
					t.Errorf("got %d from %q after %s, %v\n%s", a.Status, a.Provider(), a.Attempts(), a.Err, clip(a.Body))
				}
			}
		})
	}
	for _, yaml := range []string{
		without(full, "p0"), full, without(full, "p3"), strings.ReplaceAll(full, "explain: true", "response_provider: header"),
		strings.Replace(full, "    api_key: key-p0\n", "    api_key: key-p0\n    timeout: {first_byte: 7s, idle: 41s}\n", 1), full,
	} {
		l.reload(t, yaml)
	}
	stop()
	clients.Wait()
}
