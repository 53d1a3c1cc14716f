package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Chunks of a stream, by what is odd about them.
const (
	chunkRole   = `{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}`
	chunkWord   = `{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"wörd \"usage\":{} {[\n"},"finish_reason":null}]}`
	chunkNull   = `{"id":"c","choices":[{"index":0,"delta":{"content":"x"}}],"usage":null}`
	chunkBeside = `{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":22,"total_tokens":33}}`
	chunkSoFar  = `{"id":"c","choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":11,"completion_tokens":2,"total_tokens":13}}`
	chunkStop   = `{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	chunkUsage  = `{"id":"c","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":22,"total_tokens":33}}`
	chunkSpaced = `{ "usage" : { "prompt_tokens": 11, "completion_tokens": 22 } , "choices" : [ ] }`
	chunkBare   = `{"id":"c","object":"chat.completion.chunk","usage":{"prompt_tokens":11,"completion_tokens":22,"total_tokens":33}}`
	chunkNone   = `{"id":"c","choices":null,"usage":{"prompt_tokens":11,"completion_tokens":22,"total_tokens":33},"error":null}`
	chunkFilter = `{"choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}`
	chunkTheirs = `{"provider":"Theirs","id":"c","choices":[{"index":0,"delta":{"role":"assistant"}}]}`
	chunkError  = `{"error":{"message":"overloaded","type":"server_error","code":500}}`
	done        = `[DONE]`
)

// sse writes events with this newline.
func sse(newline string, data ...string) string {
	var b strings.Builder
	for _, d := range data {
		b.WriteString("data: " + d + newline + newline)
	}
	return b.String()
}

const stream = `,"stream":true`
const streamAsked = `,"stream":true,"stream_options":{"include_usage":true}`

// BILL-7 and FALL-4: what a client sees of a stream, and what is charged for it.
func TestStreams(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, stream   string
		source, status string // "": reported, completed
	}{
		{"BILL-7 well made", sse("\n", chunkRole, chunkWord, chunkStop, chunkUsage, done), "", ""},
		{"BILL-7 CRLF", sse("\r\n", chunkRole, chunkWord, chunkStop, chunkUsage, done), "", ""},
		{"BILL-7 no space after data", strings.ReplaceAll(sse("\n", chunkRole, chunkStop, chunkUsage, done), "data: ", "data:"), "", ""},
		{"BILL-7 comments", ": OPENROUTER PROCESSING\n\n" + sse("\n", chunkRole) + ": ping\n" + sse("\n", chunkWord, chunkStop) + ": {\n\n" + sse("\n", chunkUsage, done), "", ""},
		{"BILL-7 named events and ids", "event: message\nid: 1\n" + sse("\n", chunkRole) + "retry: 3\nevent: message\n" + sse("\n", chunkUsage) + sse("\n", done), "", ""},
		{"BILL-7 usage null on every chunk", sse("\n", chunkNull, chunkNull, chunkUsage, done), "", ""},
		{"BILL-7 usage beside choices", sse("\n", chunkRole, chunkWord, chunkBeside, done), "", ""},
		{"BILL-7 usage on every chunk", sse("\n", chunkSoFar, chunkSoFar, chunkBeside, done), "", ""},
		{"BILL-7 usage on every chunk and its own", sse("\n", chunkSoFar, chunkSoFar, chunkUsage, done), "", ""},
		{"BILL-7 usage spaced oddly", sse("\n", chunkRole, chunkSpaced, done), "", ""},
		{"BILL-7 usage without choices", sse("\n", chunkRole, chunkStop, chunkBare, done), "", ""},
		{"BILL-7 usage beside null choices", sse("\n", chunkRole, chunkStop, chunkNone, done), "", ""},
		{"BILL-7 an empty chunk that is no usage", sse("\n", chunkFilter, chunkRole, chunkUsage, done), "", ""},
		{"BILL-7 usage first", sse("\n", chunkUsage, chunkRole, done), "", ""},
		{"BILL-7 no DONE", sse("\n", chunkRole, chunkStop, chunkUsage), "", ""},
		{"BILL-7 DONE without a newline", strings.TrimRight(sse("\n", chunkRole, chunkUsage, done), "\n"), "", ""},
		{"BILL-7 usage without a newline", strings.TrimRight(sse("\n", chunkRole, chunkUsage), "\n"), "", ""},
		{"BILL-7 usage with half its newlines", strings.TrimSuffix(sse("\n", chunkRole, chunkUsage), "\n"), "", ""},
		{"BILL-7 usage without a newline, CRLF", strings.TrimRight(sse("\r\n", chunkRole, chunkUsage), "\r\n"), "", ""},
		{"BILL-7 usage beside choices without a newline", strings.TrimRight(sse("\n", chunkRole, chunkBeside), "\n"), "", ""},
		{"BILL-7 no usage", sse("\n", chunkRole, chunkWord, chunkStop, done), "estimated", ""},
		{"BILL-7 nothing but DONE", sse("\n", done), "estimated", ""},
		{"BILL-7 nothing", "", "estimated", ""},
		{"BILL-7 an event of 900 KB", sse("\n", chunkRole, strings.Replace(chunkWord, "wörd", strings.Repeat("w", 900<<10), 1), chunkUsage, done), "", ""},
		{"BILL-7 a first event of 900 KB", sse("\n", strings.Replace(chunkWord, "wörd", strings.Repeat("w", 900<<10), 1), chunkUsage, done), "", ""},
		{"FALL-4 provider there", sse("\n", chunkTheirs, chunkTheirs, chunkUsage, done), "", ""},
		{"BILL-8 an error event", sse("\n", chunkRole, chunkError, done), "none", "failed"},
		{"BILL-8 an error event at once", sse("\n", chunkError), "none", "failed"},
		{"BILL-8 an error event, named", sse("\n", chunkRole) + "event: error\ndata: overloaded\n\n", "none", "failed"},
		{"BILL-8 an error without a newline", strings.TrimRight(sse("\n", chunkRole, chunkError), "\n"), "none", "failed"},
		{"BILL-8 an error, CRLF", sse("\r\n", chunkRole) + "event: error\r\n" + sse("\r\n", `"x"`), "none", "failed"},
		{"BILL-8 talk of errors", sse("\n", chunkRole, strings.Replace(chunkWord, "wörd", `\"error\":{\"type\":\"error\"}`, 1), chunkUsage, done), "", ""},
		{"BILL-8 an error further in", sse("\n", `{"choices":[{"delta":{"content":"x"},"error":{"x":1}}]}`, chunkUsage, done), "", ""},
	} {
		for _, asked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, asked %v", tc.name, asked), func(t *testing.T) {
				t.Parallel()
				p := newProbe(t)
				p.on("p0", reply(200, "text/event-stream; charset=utf-8", tc.stream))
				more := stream
				if asked {
					more = streamAsked
				}
				a := p.chat(more)
				a.want(t, 200, "p0", 1)
				if want := shown(theirsGoneFirst(tc.stream, !asked), "p0", !asked); a.Body != want {
					t.Errorf("BILL-7: the client saw\n%q\nwant\n%q", clip(a.Body), clip(want))
				}
				p.wantUsage(a, orElse(tc.source, "reported"), orElse(tc.status, "completed"))
			})
		}
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// theirsGone takes the provider's own name out of the first event, where shunt's
// stands in its place.
func theirsGone(s string) string { return strings.Replace(s, `"provider":"Theirs",`, "", 1) }

// wantUsage checks the event of a request whose provider reports 11 and 22 tokens, or
// nothing.
func (p *probe) wantUsage(a answer, source, status string) {
	p.t.Helper()
	e := p.event(a)
	u := e.Data.Usage
	if u.Source != source || e.Data.Status != status || !e.Data.Stream {
		p.t.Errorf("the event says %s, usage %+v, stream %v; want %s, %s", e.Data.Status, u, e.Data.Stream, status, source)
	}
	if source == "reported" && (u.PromptTokens != 11 || u.CompletionTokens != 22 || e.Data.Amount != "0.00055") {
		p.t.Errorf("BILL-4: the event says %+v for %s, want 11 and 22 tokens for 0.00055", u, e.Data.Amount)
	}
	if status == "failed" && e.Data.Amount != "0" {
		p.t.Errorf("BILL-8: a failure costs %s", e.Data.Amount)
	}
}

// BILL-7: a stream may be cut anywhere, and the client sees the same bytes.
func TestStreamsCutAnywhere(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	rapid.Check(t, func(rt *rapid.T) { p.checkCutAt(rt, "p0") })
}

// checkCutAt has a provider stream events with odd ends in odd pieces and compares with
// the oracle.
func (p *probe) checkCutAt(rt *rapid.T, slug string) {
	p.checkCutBy(rt, slug, `,"provider":"`+slug+`"`)
}

func (p *probe) checkCutBy(rt *rapid.T, slug, selection string) {
	chunks := []string{chunkRole, chunkWord, chunkNull, chunkBeside, chunkSoFar, chunkStop, chunkUsage, chunkSpaced, chunkFilter, chunkTheirs, "{}", "[]", done}
	var b strings.Builder
	for range rapid.IntRange(0, 8).Draw(rt, "events") {
		newline := rapid.SampledFrom([]string{"\n", "\n", "\r\n"}).Draw(rt, "newline")
		b.WriteString(rapid.SampledFrom([]string{"", "", "", ": comment" + newline, ": comment" + newline + newline, newline, "event: x" + newline, "id:7" + newline}).Draw(rt, "before"))
		b.WriteString(sse(newline, rapid.SampledFrom(chunks).Draw(rt, "chunk")))
	}
	text := b.String()
	text = text[:len(text)-rapid.SampledFrom([]int{0, 0, 0, min(1, len(text)), min(2, len(text))}).Draw(rt, "lost at the end")]
	cuts := rapid.SliceOfNDistinct(rapid.IntRange(0, len(text)), 0, min(12, len(text)), rapid.ID).Draw(rt, "cuts")
	slices.Sort(cuts)
	asked := rapid.Bool().Draw(rt, "asked")
	more := stream
	if asked {
		more = streamAsked
	}
	p.on(slug, cutAt(text, cuts))
	a := p.chat(more + selection)
	want := shown(theirsGoneFirst(text, !asked), slug, !asked)
	if a.Status != 200 || a.Err != nil || a.Body != want {
		rt.Fatalf("cut at %v, asked %v: %d %v\n got %q\nwant %q", cuts, asked, a.Status, a.Err, a.Body, want)
	}
}

// theirsGoneFirst is theirsGone where the first event that is shown is one of theirs.
func theirsGoneFirst(s string, strip bool) string {
	var out strings.Builder
	first := true
	for _, event := range splitEvents(s) {
		object, _ := objectOf(event)
		if first && object != nil && !(strip && isUsageChunk(object)) {
			event, first = theirsGone(event), false
		}
		out.WriteString(event)
	}
	return out.String()
}

// cutAt answers a stream in pieces. The gap between two lets Envoy read them one by
// one.
func cutAt(text string, cuts []int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", "text/event-stream")
		w.WriteHeader(200)
		from := 0
		for _, at := range append(slices.Clone(cuts), len(text)) {
			_, _ = w.Write([]byte(text[from:at]))
			if at < len(text) {
				_ = http.NewResponseController(w).Flush()
				time.Sleep(200 * time.Microsecond) // a gap: see above
			}
			from = at
		}
	}
}

// BILL-8: an error event is seen wherever the stream is cut.
func TestErrorEventCutAnywhere(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	text := sse("\n", chunkRole, chunkError)
	begin := strings.Index(text, `data: {"error"`)
	ids := map[string]int{}
	for at := begin - 2; at < len(text); at++ {
		p.on("p0", cutAt(text, []int{at}))
		ids[p.chat(stream).ID()] = at
	}
	every := make([]int, 0, len(text))
	for at := begin - 2; at < len(text); at++ {
		every = append(every, at)
	}
	p.on("p0", cutAt(text, every))
	ids[p.chat(stream).ID()] = -1
	for id, at := range ids {
		if e := p.Event(t, id); e.Data.Status != "failed" {
			t.Errorf("cut at %d (-1: everywhere): %s", at, e.Data.Status)
		}
	}
}
