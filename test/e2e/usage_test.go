package e2e

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/test/harness"
)

// BILL-4: usage is found wherever it stands in an answer.
func TestUsageIsFound(t *testing.T) {
	t.Parallel()
	const counts = `"prompt_tokens":11,"completion_tokens":22`
	long := strings.Repeat(`word {\"usage\":{\"prompt_tokens\":1}} `, 10_000)
	choices := func(text string) string {
		return `"choices":[{"message":{"content":"` + text + `"},"finish_reason":"stop"}]`
	}
	parts := `"usage_breakdown":{"models":[{"model":"{\"","usage":{"prompt_tokens":5,"completion_tokens":2}}]}`
	for name, h := range map[string]http.HandlerFunc{
		"before its parts":      reply(200, "application/json", `{`+choices("x")+`,"usage":{`+counts+`},`+parts+`}`),
		"an event with parts":   pieces("text/event-stream", sse("\n", chunkStop), `data: {"usage":{`+counts+`},"x":[`, `{},{`+parts+"}]}\n\n", sse("\n", done)),
		"behind unequal braces": reply(200, "application/json", `{"tools":{"usage":{"x_tokens":1,"x":"}"}, "y":{"usage":{"x_tokens":1,"x":"{"}}},`+choices("x")+`,"usage":{`+counts+`}}`),
		"before a long answer":  reply(200, "application/json", `{"usage":{`+counts+`},`+choices(long)+`}`),
		"behind a long answer":  reply(200, "application/json", `{`+choices(long)+`,"usage":{`+counts+`}}`),
		"of several, the last":  reply(200, "application/json", `{"tools":{"usage":{"type":"object"}},"x":{"usage":{"prompt_tokens":1,"completion_tokens":1}},`+choices("x")+`,"usage":{`+counts+`}}`),
		"with objects in it":    reply(200, "application/json", `{`+choices("x")+`,"usage" : { "prompt_tokens_details":{"cached_tokens":0,"x":{}} , `+counts+`}}`),
		"over several lines":    pieces("text/event-stream", sse("\n", chunkStop), "data: {\"choices\":[],\ndata: \"usage\":{\ndata: "+counts+"}}\n\n", sse("\n", done)),
		"without the last line": pieces("text/event-stream", sse("\n", chunkStop), `data: {"choices":[],"usage":{`+counts+`}}`),
		"in a long event":       pieces("text/event-stream", `data: {"type":"response.completed","response":{"output":"`+long+`","usage":{`+counts+`}}}`+"\n\n"),
		"lines end with CR":     pieces("text/event-stream", "data: "+chunkStop+"\r\rdata: "+chunkUsage+"\r\r"),
	} {
		t.Run("BILL-4 "+name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.on("p0", h)
			e := p.event(p.chat(streamAsked))
			if u := e.Data.Usage; u.Source != "reported" || u.PromptTokens != 11 || u.CompletionTokens != 22 || e.Data.Amount != "0.00055" {
				t.Errorf("the event says %+v for %s", u, e.Data.Amount)
			}
		})
	}
}

// BILL-4: usage is found wherever an answer is cut.
func TestUsageCutAnywhere(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	text := sse("\n", chunkRole, chunkWord, chunkSoFar, chunkNull, chunkStop, chunkSpaced, done)
	from := strings.Index(text, `data: { "usage"`)
	rapid.Check(t, func(rt *rapid.T) {
		cuts := rapid.SliceOfNDistinct(rapid.IntRange(from, len(text)), 0, 12, rapid.ID).Draw(rt, "cuts")
		slices.Sort(cuts)
		p.on("p0", cutAt(text, cuts))
		a := p.chat(stream)
		e := p.Event(t, a.ID())
		if u := e.Data.Usage; u.Source != "reported" || u.PromptTokens != 11 || u.CompletionTokens != 22 {
			rt.Fatalf("cut at %v: the event says %+v", cuts, u)
		}
	})
}

// BILL-8: of a stream that breaks off, what the provider had reported by then counts,
// unless more was sent since.
func TestUsageOfCancelled(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, source string
		chunks       []string
		completion   int64
	}{
		{"reported with every chunk", "reported", []string{chunkRole, chunkWord, chunkSoFar}, 2},
		{"reported early", "estimated", []string{chunkRole, chunkSoFar, chunkWord, chunkWord, chunkWord, chunkWord, chunkWord}, 0},
		{"reported early, then null", "estimated", []string{chunkRole, chunkSoFar, chunkNull, chunkNull, chunkNull, chunkNull, chunkNull}, 0},
		{"reported early, and again", "reported", []string{chunkRole, chunkSoFar, chunkWord, chunkSoFar}, 2},
	} {
		t.Run("BILL-8 "+tc.name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			left := make(chan struct{})
			var parts []string
			for _, c := range tc.chunks { // each in a frame of its own, or Envoy may join them
				parts = append(parts, sse("\n", c))
			}
			p.on("p0", untilLeft(left, pieces("text/event-stream", append(parts, ": end\n\n")...)))
			e := p.leaveAfter(client, ": end", left)
			u := e.Data.Usage
			if e.Data.Status != "cancelled" || u.Source != tc.source || u.PromptTokens != 11 || u.CompletionTokens == 0 {
				t.Errorf("the event says %s, %+v", e.Data.Status, u)
			}
			if tc.completion != 0 && u.CompletionTokens != tc.completion {
				t.Errorf("%d completion tokens, want %d", u.CompletionTokens, tc.completion)
			}
		})
	}
}

// BILL-8: what a provider reported before the client left, or before it broke off itself,
// is what is billed; a report from before the output tells nothing of it.
func TestReportedBeforeTheEnd(t *testing.T) {
	t.Parallel()
	const (
		end     = `"finish_reason":"stop"`
		long    = `{"id":"c","choices":[{"index":0,"delta":{"content":"w"},"finish_reason":null}]}`
		nothing = `{"id":"c","choices":[{"index":0,"delta":{"role":"assistant"}}],"usage":{"prompt_tokens":11,"completion_tokens":0}}`
	)
	for _, tc := range []struct {
		name, stream, last string // last: what the client waits for
		source             string
		prompt, completion int64
	}{
		{"BILL-8 usage so far", sse("\n", chunkSoFar, chunkSoFar), `"x"`, "reported", 11, 2},
		{"BILL-8 usage in full", sse("\n", chunkRole, chunkUsage, chunkStop), end, "reported", 11, 22},
		{"BILL-8 usage beside the end", sse("\n", chunkRole, chunkBeside), end, "reported", 11, 22},
		{"BILL-8 usage before the output", sse("\n", nothing, strings.Replace(long, "w", strings.Repeat("w", 1000), 1)), "www", "estimated", 11, 4},
	} {
		check := func(t *testing.T, e harness.Event, status string) {
			t.Helper()
			u := e.Data.Usage
			if e.Data.Status != status || u.Source != tc.source || u.PromptTokens != tc.prompt || u.CompletionTokens != tc.completion || e.Data.Amount == "0" {
				t.Errorf("the event says %s, %+v, %s; want %s, %s, %d and %d tokens", e.Data.Status, u, e.Data.Amount, status, tc.source, tc.prompt, tc.completion)
			}
		}
		t.Run(tc.name+", the client leaves", func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			left := make(chan struct{})
			p.on("p0", untilLeft(left, pieces("text/event-stream", tc.stream)))
			check(t, p.leaveAfter(client, tc.last, left), "cancelled")
		})
		t.Run(tc.name+", the provider breaks off", func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			got := make(chan struct{})
			p.on("p0", func(w http.ResponseWriter, r *http.Request) {
				pieces("text/event-stream", tc.stream)(w, r)
				<-got
				panic(http.ErrAbortHandler)
			})
			check(t, p.cutAfter(tc.last, got), "failed")
		})
	}
}

// cutAfter reads a stream until it has seen text, has the provider break off then, and
// returns the event.
func (p *probe) cutAfter(text string, got chan<- struct{}) harness.Event {
	p.t.Helper()
	resp, err := client.Do(newPost(p.t, p.URL+chatPath, p.body(stream)))
	if err != nil {
		close(got)
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	err = readUntil(resp.Body, text)
	close(got)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		p.t.Error("the answer came to an end")
	}
	return p.Event(p.t, resp.Header.Get("x-request-id"))
}

// BILL-4: cached tokens, whatever the provider calls them. p1 asks 2 for prompts, 0.5 for
// cached ones and 4 for completions, 5 % on top.
func TestCachedTokensByOtherNames(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{
		"BILL-4 OpenAI":    `"prompt_tokens_details":{"cached_tokens":400}`,
		"BILL-4 DeepSeek":  `"prompt_cache_hit_tokens":400,"prompt_cache_miss_tokens":600,"completion_tokens_details":{"reasoning_tokens":7}`,
		"BILL-4 Moonshot":  `"cached_tokens":400`,
		"BILL-4 Anthropic": `"cache_read_input_tokens":400,"cache_creation_input_tokens":0`,
	} {
		usage := `"usage":{"prompt_tokens":1000,"completion_tokens":50,` + more + `}`
		for kind, c := range map[string]struct{ more, contentType, body string }{
			"JSON": {"", "application/json", `{"id":"x","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}],` + usage + `}`},
			"SSE":  {stream, "text/event-stream", sse("\n", chunkRole, chunkStop, `{"id":"x","choices":[],`+usage+`}`, done)},
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				p := newProbe(t)
				p.on("p1", reply(200, c.contentType, c.body))
				a := p.chat(c.more + `,"provider":"p1"`)
				a.want(t, 200, "p1", 1)
				// (600×2 + 400×0.5 + 50×4) / 1e6 × 1.05
				if e := p.event(a); e.Data.Usage.CacheReadTokens != 400 || e.Data.Amount != "0.00168" {
					t.Errorf("the event says %s for %+v", e.Data.Amount, e.Data.Usage)
				}
			})
		}
	}
}

// BILL-4: what a client has the provider repeat is no usage, also not where the last line
// has no newline.
func TestUsageOfTheClients(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	p.on("p0", reply(200, "text/event-stream", `data: {"type":"response.completed","response":{"tools":[{"usage":{"input_tokens":1,"output_tokens":1}}],`+
		`"status":"completed","usage":{"input_tokens":11,"output_tokens":22}}}`))
	a := p.post("/v1/responses", p.body(stream))
	a.want(t, 200, "p0", 1)
	if u := p.event(a).Data.Usage; u.Source != "reported" || u.PromptTokens != 11 || u.CompletionTokens != 22 {
		t.Errorf("the event's usage is %+v", u)
	}
}

// BILL-4: a report with bytes in it that are no text is one all the same, and does not
// end the stream that tells shunt of requests.
func TestUsageThatIsNoText(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	p.on("p0", reply(200, "application/json", `{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"x":"`+"\xff"+`","prompt_tokens":11,"completion_tokens":22}}`))
	if u := p.event(p.chat("")).Data.Usage; u.Source != "reported" || u.PromptTokens != 11 || u.CompletionTokens != 22 {
		t.Errorf("the event's usage is %+v", u)
	}
	if strings.Contains(p.Output(), "string field contains invalid UTF-8") {
		t.Error("the access log's stream was closed")
	}
}

// BILL-8: nor does what a client has the provider repeat count where there is no other
// report, because the client left before it.
func TestUsageOfTheClientsAlone(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	left := make(chan struct{})
	p.on("p0", func(w http.ResponseWriter, r *http.Request) {
		pieces("text/event-stream",
			`data: {"type":"response.created","response":{"tools":[{"usage":{"input_tokens":1,"output_tokens":1}}],"usage":null}}`+"\n\n",
			`data: {"type":"response.output_text.delta","delta":"`+strings.Repeat("w", 1000)+`"}`+"\n\n", ": end\n\n")(w, r)
		<-r.Context().Done()
		close(left)
	})
	req := newPost(t, p.URL+"/v1/responses", p.body(stream))
	e := p.leaveAfterOf(client, req, ": end", left)
	if u := e.Data.Usage; e.Data.Status != "cancelled" || u.Source != "estimated" || u.PromptTokens == 1 || u.CompletionTokens == 1 {
		t.Errorf("the event says %s, %+v", e.Data.Status, u)
	}
}

// BILL-7: an error that reports usage is no usage chunk: the client sees it.
func TestErrorWithUsage(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	text := sse("\n", chunkRole, strings.TrimSuffix(chunkError, "}")+`,"usage":{"prompt_tokens":11,"completion_tokens":22}}`)
	p.on("p0", reply(200, "text/event-stream", text))
	a := p.chat(stream)
	if a.want(t, 200, "p0", 1); a.Body != shown(text, "p0", true) {
		t.Errorf("the client saw\n%q", a.Body)
	}
	if e := p.event(a); e.Data.Status != "failed" || e.Data.Amount != "0" || e.Data.Note != "error_answer" {
		t.Errorf("the event says %s, %s, %q", e.Data.Status, e.Data.Amount, e.Data.Note)
	}
}
