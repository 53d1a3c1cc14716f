package demo_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

func TestStreamUsage(t *testing.T) {
	for name, c := range map[string]struct {
		usage   demo.Usage
		request string
		want    string // per chunk: - absent, 0 null, u usage, o usage in an own chunk
	}{
		"not asked":    {demo.Usage{}, chatStream, "-----"},
		"asked":        {demo.Usage{}, chatUsage, "-----o"},
		"null":         {demo.Usage{Null: true}, chatUsage, "00000o"},
		"always":       {demo.Usage{When: demo.UsageAlways}, chatStream, "-----o"},
		"never":        {demo.Usage{When: demo.UsageNever}, chatUsage, "-----"},
		"on last":      {demo.Usage{Where: demo.UsageOnLast}, chatUsage, "----u"},
		"on last null": {demo.Usage{Where: demo.UsageOnLast, Null: true}, chatUsage, "0000u"},
		"on every":     {demo.Usage{Where: demo.UsageOnEvery}, chatUsage, "uuuuu"},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, demo.Config{Behaviour: demo.Behaviour{Tokens: 3, Usage: c.usage}})
			all := data(h.post(t, "/chat/completions", c.request).body)
			got, last := "", 0
			for _, d := range all[:len(all)-1] {
				v := decode[chunk](t, d)
				switch {
				case v.Usage != nil && len(v.Choices) == 0:
					got += "o"
				case v.Usage != nil:
					got += "u"
				case strings.Contains(d, `"usage":null`):
					got += "0"
				default:
					got += "-"
				}
				if v.Usage != nil {
					if v.Usage.Completion < last {
						t.Errorf("usage shrinks: %s", d)
					}
					last = v.Usage.Completion
				}
			}
			if got != c.want || all[len(all)-1] != "[DONE]" {
				t.Errorf("%s, want %s, in %q", got, c.want, all)
			}
			if strings.ContainsAny(c.want, "uo") && last != 3 {
				t.Errorf("completion tokens %d, want 3", last)
			}
		})
	}
}

// text puts a stream's words together.
func text(t *testing.T, stream string) (out string) {
	t.Helper()
	for _, d := range data(stream) {
		if d == "[DONE]" {
			continue
		}
		for _, c := range decode[chunk](t, d).Choices {
			if c.Delta.Content != nil {
				out += *c.Delta.Content
			}
			out += c.Text
		}
	}
	return out
}

func TestOddStreams(t *testing.T) {
	const want = "Hello from novita: 1 2 3 4 5"
	for name, c := range map[string]struct {
		stream demo.Stream
		ok     func(body string) bool
	}{
		"plain":    {demo.Stream{}, func(b string) bool { return strings.HasSuffix(b, "\n\ndata: [DONE]\n\n") }},
		"CRLF":     {demo.Stream{CRLF: true}, func(b string) bool { return strings.Count(b, "\n") == strings.Count(b, "\r\n") }},
		"comments": {demo.Stream{Comment: "ping"}, func(b string) bool { return strings.Count(b, ": ping\n\n") == 11 }},
		"open end": {demo.Stream{NoFinalNewline: true}, func(b string) bool { return strings.HasSuffix(b, "data: [DONE]") }},
		"open end without DONE": {
			demo.Stream{NoFinalNewline: true, NoDone: true},
			func(b string) bool { return strings.HasSuffix(b, "}") && !strings.Contains(b, "[DONE]") },
		},
		"no DONE": {demo.Stream{NoDone: true}, func(b string) bool { return !strings.Contains(b, "[DONE]") }},
		"split":   {demo.Stream{SplitAt: []int{1, 5, 40}, SplitGap: demo.Duration(time.Microsecond)}, nil},
		"packets": {demo.Stream{PerPacket: 4}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, demo.Config{Behaviour: demo.Behaviour{Stream: c.stream}})
			for _, path := range []string{"/chat/completions", "/completions"} {
				a := h.post(t, path, chatStream)
				if a.error != nil || a.Header.Get("content-type") != "text/event-stream" {
					t.Fatal(a.error, a.Header)
				}
				if got := text(t, a.body); got != want {
					t.Errorf("%s: %q", path, got)
				}
				if path == "/chat/completions" && c.ok != nil && !c.ok(a.body) {
					t.Errorf("%q", a.body)
				}
			}
		})
	}
}

// packets is a response writer that notes what each flush sends.
type packets struct {
	*httptest.ResponseRecorder
	sent []string
}

func (p *packets) Flush() {
	p.sent = append(p.sent, p.Body.String())
	p.Body.Reset()
}

// paced answers a request on a clock of its own, and returns how long it took on it.
func paced(t *testing.T, b demo.Behaviour, request string) (p *packets, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p = &packets{ResponseRecorder: httptest.NewRecorder()}
		begun := time.Now()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/chat/completions", strings.NewReader(request))
		demo.New(demo.Config{Behaviour: b}).ServeHTTP(p, r)
		took = time.Since(begun)
	})
	return p, took
}

func TestPackets(t *testing.T) {
	p, took := paced(t, demo.Behaviour{Tokens: 4, Stream: demo.Stream{SplitAt: []int{10, 40}}}, chatStream)
	// Role, four words, finish and [DONE], which is shorter than 40 bytes.
	if len(p.sent) != 6*3+2 || len(p.sent[0]) != 10 || len(p.sent[1]) != 30 || !strings.HasSuffix(p.sent[2], "}\n\n") {
		t.Errorf("%d packets: %q", len(p.sent), p.sent)
	}
	if want := 13 * 2 * time.Millisecond; took != want {
		t.Errorf("took %v, want %v: 2ms a cut", took, want)
	}
	p, _ = paced(t, demo.Behaviour{Tokens: 4, Stream: demo.Stream{PerPacket: 3}}, chatStream)
	var events []int
	for _, packet := range p.sent {
		events = append(events, strings.Count(packet, "data: "))
	}
	if want := []int{3, 3, 1}; !slices.Equal(events, want) {
		t.Errorf("%v events a packet, want %v", events, want)
	}
}

func TestPace(t *testing.T) {
	ms := func(n int) demo.Duration { return demo.Duration(time.Duration(n) * time.Millisecond) }
	for name, c := range map[string]struct {
		b    demo.Behaviour
		want demo.Duration
	}{
		"at once":      {demo.Behaviour{}, 0},
		"first byte":   {demo.Behaviour{TTFT: ms(60)}, ms(60)},
		"speed":        {demo.Behaviour{TTFT: ms(60), TokensPerSecond: 100, Tokens: 5}, ms(100)},
		"gap":          {demo.Behaviour{ChunkGap: ms(7), TokensPerSecond: 100, Tokens: 5}, ms(28)},
		"reasoning":    {demo.Behaviour{ChunkGap: ms(7), Tokens: 5, Reasoning: 3}, ms(49)},
		"late refusal": {demo.Behaviour{TTFT: ms(60), Fail: &demo.Failure{Status: 429}}, ms(60)},
	} {
		for _, request := range []string{chat, chatStream} {
			if _, took := paced(t, c.b, request); took != time.Duration(c.want) {
				t.Errorf("%s: took %v, want %v", name, took, c.want)
			}
		}
	}
}

func TestLargeEvent(t *testing.T) {
	const size = 900 << 10
	h := start(t, demo.Config{Behaviour: demo.Behaviour{Stream: demo.Stream{EventBytes: size}}})
	for _, path := range []string{"/chat/completions", "/completions", "/responses"} {
		largest := 0
		for _, d := range data(h.post(t, path, chatStream).body) {
			largest = max(largest, len(d))
		}
		if largest < size {
			t.Errorf("%s: the largest event has %d bytes, want %d", path, largest, size)
		}
	}
}

func TestJSONToStreamRequest(t *testing.T) {
	h := start(t, demo.Config{Behaviour: demo.Behaviour{Stream: demo.Stream{JSON: true}}})
	a := h.post(t, "/chat/completions", chatStream)
	if a.Header.Get("content-type") != "application/json" || decode[chunk](t, a.body).Object != "chat.completion" {
		t.Errorf("%v %s", a.Header, a.body)
	}
}

func TestGzip(t *testing.T) {
	h := start(t, demo.Config{Behaviour: demo.Behaviour{Gzip: true}})
	for _, body := range []string{chat, chatStream} {
		a := h.post(t, "/chat/completions", body, "accept-encoding", "br, gzip")
		z, err := gzip.NewReader(strings.NewReader(a.body))
		if err != nil || a.Header.Get("content-encoding") != "gzip" {
			t.Fatal(err, a.Header)
		}
		if plain, err := io.ReadAll(z); err != nil || !strings.Contains(string(plain), "novita") {
			t.Errorf("%v in %q", err, plain)
		}
		if a := h.post(t, "/chat/completions", body); a.Header.Get("content-encoding") != "" {
			t.Errorf("not asked for, but %v", a.Header)
		}
	}
}

func TestFaultsBeforeTheFirstByte(t *testing.T) {
	h := start(t, demo.Config{})
	for _, body := range []string{chat, chatStream} {
		h.Set(demo.Behaviour{Fault: demo.FaultReset})
		if _, err := h.try(t, "/chat/completions", body); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("reset: %v", err)
		}
		h.Set(demo.Behaviour{Fault: demo.FaultClose})
		if _, err := h.try(t, "/chat/completions", body); !errors.Is(err, io.EOF) {
			t.Errorf("close: %v", err)
		}
	}
	for _, r := range h.seen(t, 4) {
		if r.Status != 0 || r.ClientLeft {
			t.Errorf("%+v", r)
		}
	}
}

func TestFaultsInTheAnswer(t *testing.T) {
	h := start(t, demo.Config{})
	for _, body := range []string{chat, chatStream} {
		for fault, want := range map[demo.Fault]error{demo.FaultReset: syscall.ECONNRESET, demo.FaultClose: io.ErrUnexpectedEOF} {
			h.Set(demo.Behaviour{Fault: fault, FaultAfter: 3})
			a := h.post(t, "/chat/completions", body)
			if !errors.Is(a.error, want) {
				t.Errorf("%s: %v, want %v", fault, a.error, want)
			}
			if body == chatStream && len(data(a.body)) != 3 {
				t.Errorf("%s: %q, want 3 events", fault, a.body)
			}
		}
	}
	for _, r := range h.seen(t, 4) {
		if r.Status != 200 || r.ClientLeft {
			t.Errorf("%+v", r)
		}
	}
}

func TestErrorEvent(t *testing.T) {
	h := start(t, demo.Config{Behaviour: demo.Behaviour{Fault: demo.FaultError, FaultAfter: 2}})
	a := h.post(t, "/chat/completions", chatStream)
	all := data(a.body)
	if a.StatusCode != 200 || len(all) != 3 || decode[errorAnswer](t, all[2]).Error.Code != "server_error" {
		t.Errorf("%d %q", a.StatusCode, all)
	}
	if a := h.post(t, "/responses", chatStream); !strings.Contains(a.body, "\n\nevent: error\ndata: {") {
		t.Errorf("%q", a.body)
	}
	if a := h.post(t, "/chat/completions", chat); a.StatusCode != 200 || decode[errorAnswer](t, a.body).Error.Code != "server_error" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestHangUntilTheClientLeaves(t *testing.T) {
	for _, after := range []int{0, 2} {
		h := start(t, demo.Config{Behaviour: demo.Behaviour{Fault: demo.FaultHang, FaultAfter: after}})
		ctx, leave := context.WithTimeout(t.Context(), time.Minute)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url+"/chat/completions", strings.NewReader(chatStream))
		if err != nil {
			t.Fatal(err)
		}
		if after == 0 {
			go func() {
				defer leave()
				_, _ = h.Await(ctx, func(all []demo.Request) bool { return len(all) == 1 }) // else ctx ends by itself
			}()
		}
		resp, err := h.client.Do(r)
		if after == 0 && !errors.Is(err, context.Canceled) {
			t.Errorf("before the first byte: %v", err)
		}
		if after > 0 {
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(resp.Body)
			for range 2 * after { // each event has a blank line
				if !lines.Scan() {
					t.Fatal(lines.Err())
				}
			}
			leave()
			resp.Body.Close()
		}
		leave()
		got := h.seen(t, 1)[0]
		if !got.ClientLeft || got.Events != after {
			t.Errorf("after %d: %+v", after, got)
		}
	}
}
