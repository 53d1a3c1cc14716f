package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// BILL-4: usage is found wherever it stands in an answer.
func TestUsageIsFound(t *testing.T) {
	t.Parallel()
	const counts = `"prompt_tokens":11,"completion_tokens":22`
	long := strings.Repeat(`word {\"usage\":{\"prompt_tokens\":1}} `, 10_000)
	choices := func(text string) string {
		return `"choices":[{"message":{"content":"` + text + `"},"finish_reason":"stop"}]`
	}
	for name, h := range map[string]http.HandlerFunc{
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
			p.on("p0", func(w http.ResponseWriter, r *http.Request) {
				for _, c := range tc.chunks { // each in a frame of its own, or Envoy may join them
					pieces("text/event-stream", sse("\n", c))(w, r)
				}
				pieces("text/event-stream", ": end\n\n")(w, r)
				<-r.Context().Done()
				close(left)
			})
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
