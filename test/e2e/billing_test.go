package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

const used = `{"id":"x","choices":[{}],"usage":{"prompt_tokens":11,"completion_tokens":22,"total_tokens":33}}`

// BILL-2, BILL-4, BILL-8: what a request costs. The lab's providers ask 1, 2, 3 and 4
// for prompts, twice as much for completions and 0.5 for cached prompts; its models 10
// and 20.
func TestCharges(t *testing.T) {
	t.Parallel()
	usage := func(u string) http.HandlerFunc {
		return reply(200, "application/json", `{"id":"x","choices":[{}],"usage":{`+u+`}}`)
	}
	plain := reply(200, "application/json", used)
	for _, tc := range []struct {
		name, suffix, more string
		setup              func(p *probe)
		kind, provider     string
		status, amount     string
		attempts           string
	}{
		{"BILL-2 default", "", "", func(p *probe) { p.on("p0", plain) }, "default", "p0", "completed", "0.00055", "p0 ok 200"},
		{"BILL-2 default, another served", "", "", func(p *probe) { p.fail(503, "p2"); p.on("p2", plain) }, "default", "p2", "completed", "0.00055", "p0 status 503, p1 status 503, p2 ok 200"},
		{"BILL-2 pin", "", `,"provider":"p1"`, func(p *probe) { p.on("p1", plain) }, "explicit", "p1", "completed", "0.0001155", "p1 ok 200"},
		{"BILL-2 provider suffix", ":p1", "", func(p *probe) { p.on("p1", plain) }, "explicit", "p1", "completed", "0.0001155", "p1 ok 200"},
		{"BILL-2 suffix", ":price", "", func(p *probe) { p.on("p0", plain) }, "suffix", "p0", "completed", "0.00005775", "p0 ok 200"},
		{"BILL-2 suffix, another served", ":cheap", "", func(p *probe) { p.fail(500, "p1"); p.on("p1", plain) }, "suffix", "p1", "completed", "0.0001155", "p0 status 500, p1 ok 200"},
		{"BILL-2 order, another served", "", `,"provider":{"order":["p3","p2"]}`, func(p *probe) { p.fail(429, "p2"); p.on("p2", plain) }, "explicit", "p2", "completed", "0.00017325", "p3 status 429, p2 ok 200"},
		{"BILL-2 sort none is no selection", "", `,"provider":{"sort":"none"}`, func(p *probe) { p.on("p0", plain) }, "default", "p0", "completed", "0.00055", "p0 ok 200"},
		{"BILL-4 cached tokens", "", `,"provider":"p1"`, func(p *probe) {
			p.on("p1", usage(`"prompt_tokens":11,"completion_tokens":22,"prompt_tokens_details":{"cached_tokens":5}`))
		}, "explicit", "p1", "completed", "0.000107625", "p1 ok 200"},
		{"BILL-4 cached tokens at the default price", "", "", func(p *probe) {
			p.on("p0", usage(`"prompt_tokens":11,"completion_tokens":22,"prompt_tokens_details":{"cached_tokens":5}`))
		}, "default", "p0", "completed", "0.00055", "p0 ok 200"},
		{"BILL-4 reasoning is part of the completion", "", "", func(p *probe) {
			p.on("p0", usage(`"prompt_tokens":11,"completion_tokens":22,"completion_tokens_details":{"reasoning_tokens":20}`))
		}, "default", "p0", "completed", "0.00055", "p0 ok 200"},
		{"BILL-8 all failed", "", "", func(p *probe) { p.fail(503) }, "default", "p3", "failed", "0", "p0 status 503, p1 status 503, p2 status 503, p3 status 503"},
		{"BILL-8 a 400", "", "", func(p *probe) { p.on("p0", status(400)) }, "default", "p0", "failed", "0", "p0 status 400"},
		{"BILL-8 a 400 that reports usage", "", "", func(p *probe) { p.on("p0", reply(400, "application/json", used)) }, "default", "p0", "failed", "0", "p0 status 400"},
		{"BILL-8 reset", "", `,"provider":"p0"`, func(p *probe) { p.on("p0", fault(demo.FaultReset, 0)) }, "explicit", "p0", "failed", "0", "p0 reset 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			tc.setup(p)
			body := strings.Replace(p.body(tc.more), `"`+p.model+`"`, `"`+p.model+tc.suffix+`"`, 1)
			before := time.Now()
			a := p.post(chatPath, body, "authorization", "Bearer sk-"+p.model)
			e := p.event(a)
			d := e.Data
			if d.Decision.Kind != tc.kind || d.Provider != tc.provider || d.Status != tc.status || d.Amount != tc.amount || outcomes(e) != tc.attempts {
				t.Errorf("got %s by %s, %s, %s, %q\nwant %s by %s, %s, %s, %q", d.Decision.Kind, d.Provider, d.Status, d.Amount, outcomes(e),
					tc.kind, tc.provider, tc.status, tc.amount, tc.attempts)
			}
			p.wantFacts(e, a, p.model+tc.suffix)
			if d.StartedAt.Before(before.Add(-time.Second)) || d.EndedAt.Before(d.StartedAt) || d.EndedAt.After(time.Now().Add(time.Second)) {
				t.Errorf("BILL-6: from %v to %v", d.StartedAt, d.EndedAt)
			}
		})
	}
}

// wantFacts checks what every event says (BILL-6).
func (p *probe) wantFacts(e harness.Event, a answer, requested string) {
	p.t.Helper()
	d := e.Data
	if e.SpecVersion != "1.0" || e.Type != "shunt.usage.v1" || e.ID != a.ID() || !strings.HasPrefix(e.Source, "shunt://") || len(e.Subject) < 16 {
		p.t.Errorf("BILL-6: envelope %+v", e)
	}
	if strings.Contains(e.Subject, p.model) {
		p.t.Errorf("BILL-6: the subject %s is no hash", e.Subject)
	}
	if d.API != "chat" || d.Stream || d.RequestedModel != requested || d.Model != p.model || d.UpstreamModel != "up-"+d.Provider+"/"+p.model ||
		d.Currency != "USD" || d.BillingMode != "paygo" || len(d.Decision.Catalog) != 64 {
		p.t.Errorf("BILL-6: data %+v", d)
	}
	for _, at := range d.Attempts {
		if at.UpstreamModel != "up-"+at.Provider+"/"+p.model || at.DurationMS == nil || *at.DurationMS < 0 {
			p.t.Errorf("BILL-6: attempt %+v", at)
		}
	}
}

// BILL-6: one caller has one name, and nobody has none.
func TestSubjects(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	subject := func(headers ...string) string { return p.event(p.chat("", headers...)).Subject }
	one, same, other, nobody := subject("authorization", "Bearer sk-1"), subject("authorization", "bearer  sk-1"), subject("authorization", "Bearer sk-2"), subject()
	if one == "" || one != same || one == other || nobody != "" {
		t.Errorf("subjects %q, %q, %q, %q", one, same, other, nobody)
	}
}

// BILL-1: every request that was admitted has its event, under load too, and no other.
func TestOneEventEach(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{Models: 60})
	for i := range 60 {
		p := l.probe(t)
		if i%3 == 0 {
			p.on("p0", status(503))
		}
		t.Run("BILL-1 "+p.model, func(t *testing.T) {
			t.Parallel()
			p.t = t
			for j := range 10 {
				if (i+j)%4 == 0 {
					p.chat(`,"provider":"nobody"`).wantError(t, 400, "provider_unknown_provider", "provider")
					continue
				}
				if a := p.chat([]string{"", stream}[j%2]); a.Status != 200 {
					t.Errorf("got %d\n%s", a.Status, a.Body)
				}
			}
		})
	}
}

// Clients that leave: the provider sees it, and what was sent is billed.
func TestCancelled(t *testing.T) {
	t.Parallel()
	different := newLab(t, labOptions{Each: map[string]string{"p0": "timeout: {first_byte: 15s}"}})
	for name, newProbe := range map[string]func(testing.TB) *probe{"directly": newProbe, "the timed way": different.probe} {
		for client, c := range map[string]*http.Client{"HTTP/1.1": client, "HTTP/2": http2Client()} {
			t.Run("BILL-8 in mid-stream, "+name+", "+client, func(t *testing.T) {
				t.Parallel()
				p := newProbe(t)
				left := make(chan struct{})
				p.on("p0", untilLeft(left, pieces("text/event-stream", sse("\n", chunkRole, chunkWord, chunkWord))))
				e := p.leaveAfter(c, chunkWord, left)
				if u := e.Data.Usage; e.Data.Status != "cancelled" || u.Source != "estimated" || u.PromptTokens == 0 || u.CompletionTokens == 0 || e.Data.Amount == "0" {
					t.Errorf("the event says %s, %+v, %s", e.Data.Status, u, e.Data.Amount)
				}
			})
		}
		t.Run("BILL-8 before the first byte, "+name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			asked, left := make(chan struct{}), make(chan struct{})
			p.on("p0", status(503))
			p.on("p1", func(_ http.ResponseWriter, r *http.Request) {
				close(asked)
				<-r.Context().Done()
				close(left)
			})
			req := newPost(t, p.URL+chatPath, p.body(stream))
			ctx, cancel := contextWithCancel(req)
			go func() { <-asked; cancel() }()
			if resp, err := client.Do(req.WithContext(ctx)); err == nil {
				_ = resp.Body.Close()
				t.Fatalf("got %d", resp.StatusCode)
			}
			<-left
			e := p.onlyEvent()
			if u := e.Data.Usage; e.Data.Status != "cancelled" || u.Source != "none" || e.Data.Amount != "0" || !strings.HasPrefix(outcomes(e), "p0 status 503, p1 ") {
				t.Errorf("the event says %s, %+v, %s, %q", e.Data.Status, u, e.Data.Amount, outcomes(e))
			}
			if n := len(p.seen("p2")); n != 0 {
				t.Error("FALL-1: p2 was asked for a client that had left")
			}
		})
	}
}

// untilLeft begins an answer with h, and closes left when the client has gone.
func untilLeft(left chan<- struct{}, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h(w, r)
		<-r.Context().Done()
		close(left)
	}
}

// leaveAfter reads a stream until it has seen a chunk, leaves, and returns the event
// when the provider has seen it too.
func (p *probe) leaveAfter(c *http.Client, chunk string, left <-chan struct{}) harness.Event {
	p.t.Helper()
	return p.leaveAfterOf(c, newPost(p.t, p.URL+chatPath, p.body(stream)), chunk, left)
}

// leaveAfterOf is leaveAfter with a request of one's own.
func (p *probe) leaveAfterOf(c *http.Client, req *http.Request, chunk string, left <-chan struct{}) harness.Event {
	p.t.Helper()
	ctx, cancel := contextWithCancel(req)
	defer cancel()
	resp, err := c.Do(req.WithContext(ctx))
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := readUntil(resp.Body, chunk); err != nil {
		p.t.Fatal(err)
	}
	cancel()
	select {
	case <-left:
	case <-time.After(time.Minute):
		p.t.Fatal("the provider did not see that the client had left")
	}
	return p.Event(p.t, resp.Header.Get("x-request-id"))
}

// onlyEvent is the event of the one request for this model.
func (p *probe) onlyEvent() (e harness.Event) {
	p.t.Helper()
	harness.Eventually(p.t, "the event for "+p.model, func() error {
		all, err := p.AllEvents()
		for _, e = range all {
			if e.Data.Model == p.model {
				return nil
			}
		}
		return errOr(err, "none yet")
	})
	return e
}
