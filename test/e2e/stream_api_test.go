package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

// BILL-7: usage is asked of the provider, by every attempt, and shown to a client
// that asked for it.
func TestUsageIsAsked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, path, more string
		asked            string // what the provider sees of stream_options
		shown            bool
	}{
		{"BILL-7 chat", chatPath, stream, `{"include_usage":true}`, false},
		{"BILL-7 completions", "/v1/completions", stream, `{"include_usage":true}`, false},
		{"BILL-7 asked by the client", chatPath, streamAsked, `{"include_usage":true}`, true},
		{"BILL-7 refused by the client", chatPath, `,"stream_options":{"include_usage":false,"x":1},"stream":true`, `{"include_usage":true,"x":1}`, false},
		{"BILL-7 other options", chatPath, `,"stream":true,"stream_options":{ "x" : 1e0 }`, `{ "x" : 1e0 ,"include_usage":true}`, false},
		{"BILL-7 null options", chatPath, `,"stream":true,"stream_options":null`, `{"include_usage":true}`, false},
		{"BILL-7 no stream", chatPath, `,"stream":false`, "", true},
		{"BILL-7 responses report it anyway", "/v1/responses", stream, "", true},
	} {
		for _, failing := range []string{"", "p0"} {
			t.Run(tc.name+" "+failing, func(t *testing.T) {
				t.Parallel()
				p := newProbe(t)
				serves := "p0"
				if failing != "" {
					serves = "p1"
					p.on(failing, status(503))
				}
				a := p.post(tc.path, p.body(tc.more))
				if a.Status != 200 || a.Provider() != serves {
					t.Fatalf("got %d from %s\n%s", a.Status, a.Provider(), a.Body)
				}
				if got := gjson.Get(p.last(serves).Body, "stream_options").Raw; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(tc.asked, " ", "") {
					t.Errorf("the provider saw stream_options %s, want %s", got, tc.asked)
				}
				if got := strings.Contains(a.Body, `"usage":{`); got != tc.shown {
					t.Errorf("usage shown: %v, want %v\n%s", got, tc.shown, clip(a.Body))
				}
				if e := p.event(a); e.Data.Usage.Source != "reported" || e.Data.Usage.CompletionTokens != demo.DefaultTokens {
					t.Errorf("the event's usage is %+v", e.Data.Usage)
				}
			})
		}
	}
}

// BILL-7: where the offer does not support it, usage is not asked for, whoever was
// asked before; and what is sent all the same is not shown.
func TestUsageIsNotAsked(t *testing.T) {
	t.Parallel()
	l := newLab(t, labOptions{Models: 20, Offer: map[string]string{"p1": ", stream_usage: false"}})
	for _, tc := range []struct{ name, more, asked string }{
		{"BILL-7 not asked", stream, ""},
		{"BILL-7 other options stay", `,"stream":true,"stream_options":{"x":1e0}`, `{"x":1e0}`},
		{"BILL-7 asked by the client", streamAsked, `{"include_usage":true}`},
	} {
		for _, chain := range []string{`["p1"]`, `["p0","p1"]`, `["p2","p0","p1"]`} {
			t.Run(tc.name+" "+chain, func(t *testing.T) {
				t.Parallel()
				p := l.probe(t)
				p.fail(503, "p1")
				p.on("p1", pieces("text/event-stream", sse("\n", chunkRole), sse("\n", chunkUsage, done)))
				a := p.chat(tc.more + `,"provider":{"order":` + chain + `}`)
				if a.Status != 200 || a.Provider() != "p1" {
					t.Fatalf("got %d from %s\n%s", a.Status, a.Provider(), a.Body)
				}
				if got := gjson.Get(p.last("p1").Body, "stream_options").Raw; got != tc.asked {
					t.Errorf("p1 got stream_options %s, want %s", got, tc.asked)
				}
				if want := shown(sse("\n", chunkRole, chunkUsage, done), "p1", tc.more != streamAsked); a.Body != want {
					t.Errorf("the client saw %q, want %q", a.Body, want)
				}
			})
		}
	}
	t.Run("BILL-7 asked of the next", func(t *testing.T) {
		t.Parallel()
		p := l.probe(t)
		p.fail(503, "p2")
		p.chat(stream+`,"provider":{"order":["p1","p2"]}`).want(t, 200, "p2", 2)
		if got := gjson.Get(p.last("p2").Body, "stream_options").Raw; got != `{"include_usage":true}` {
			t.Errorf("p2 got stream_options %s", got)
		}
	})
}

// What providers answer to a stream request that is no plain stream.
func TestOddAnswersToStreams(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		b      demo.Behaviour
		source string
	}{
		{"BILL-7 a JSON answer", demo.Behaviour{Stream: demo.Stream{JSON: true}}, "reported"},
		{"BILL-7 several events per packet", demo.Behaviour{Stream: demo.Stream{PerPacket: 3}}, "reported"},
		{"BILL-7 all events in one packet", demo.Behaviour{Stream: demo.Stream{PerPacket: 100}}, "reported"},
		{"BILL-7 usage on the last", demo.Behaviour{Usage: demo.Usage{Where: demo.UsageOnLast}}, "reported"},
		{"BILL-7 usage on every", demo.Behaviour{Usage: demo.Usage{Where: demo.UsageOnEvery}}, "reported"},
		{"BILL-7 usage always", demo.Behaviour{Usage: demo.Usage{When: demo.UsageAlways, Null: true}}, "reported"},
		{"BILL-7 usage never", demo.Behaviour{Usage: demo.Usage{When: demo.UsageNever}}, "estimated"},
		{"BILL-7 gzip is not asked of a provider", demo.Behaviour{Gzip: true}, "reported"},
	} {
		for _, path := range []string{chatPath, "/v1/completions", "/v1/responses"} {
			t.Run(tc.name+" "+path, func(t *testing.T) {
				t.Parallel()
				p := newProbe(t)
				p.behave("p0", tc.b)
				a := p.post(path, p.body(stream), "accept-encoding", "gzip")
				a.want(t, 200, "p0", 1)
				if strings.Count(a.Body, `"provider":"p0"`) != 1 {
					t.Errorf("FALL-4: provider is not there once\n%s", clip(a.Body))
				}
				e := p.event(a)
				source := tc.source
				if e.Data.Usage.Source != source || source == "reported" && e.Data.Usage.CompletionTokens != demo.DefaultTokens {
					t.Errorf("the event's usage is %+v, want %s", e.Data.Usage, source)
				}
			})
		}
	}
	t.Run("BILL-7 gzip sent anyway", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		p.on("p0", reply(200, "text/event-stream", "\x1f\x8b not really", "content-encoding", "gzip"))
		a := p.chat(stream)
		a.want(t, 200, "p0", 1)
		if a.Body != "\x1f\x8b not really" || a.Header.Get("content-encoding") != "gzip" {
			t.Errorf("the client saw %q, %q", a.Header.Get("content-encoding"), a.Body)
		}
		p.wantUsage(a, "estimated", "completed")
	})
	t.Run("BILL-7 no encoding, said so", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		p.on("p0", reply(200, "text/event-stream", sse("\n", chunkRole, chunkUsage, done), "content-encoding", "identity"))
		a := p.chat(stream)
		if want := shown(sse("\n", chunkRole, chunkUsage, done), "p0", true); a.Body != want {
			t.Errorf("got %q, want %q", a.Body, want)
		}
		p.wantUsage(a, "reported", "completed")
	})
	t.Run("FALL-4 a byte order mark", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		p.on("p0", reply(200, "text/event-stream", "\ufeff"+sse("\n", chunkRole, chunkStop, done)))
		if a, want := p.chat(stream), "\ufeff"+shown(sse("\n", chunkRole, chunkStop, done), "p0", true); a.Body != want {
			t.Errorf("got %q, want %q", a.Body, want)
		}
	})
	for name, body := range map[string]string{
		"BILL-8 responses: an error event":            "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"x\",\"param\":null}\n\n",
		"BILL-8 responses: an error event, unnamed":   "data: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"x\",\"param\":null}\n\n",
		"BILL-8 responses: a failed response":         "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\"}}}\n\n",
		"BILL-8 responses: a failed response, spaced": "data: { \"response\" : {\"error\":{}}, \"type\" : \"response.failed\" }\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.on("p0", pieces("text/event-stream", "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"error\":null}}\n\n", body))
			a := p.post("/v1/responses", p.body(stream))
			a.want(t, 200, "p0", 1)
			p.wantUsage(a, "none", "failed")
		})
	}
}

// FALL-1: never after the first byte has gone to the client, which sees as much as
// the provider sent.
func TestBrokenStreams(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		f       demo.Fault
		after   int
		outcome string
	}{
		{"FALL-1 reset after one event", demo.FaultReset, 1, "p0 reset 200"},
		{"FALL-1 reset after five events", demo.FaultReset, 5, "p0 reset 200"},
		{"FALL-1 close after one event", demo.FaultClose, 1, "p0 reset 200"},
		{"FALL-1 close after five events", demo.FaultClose, 5, "p0 reset 200"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.on("p0", func(w http.ResponseWriter, r *http.Request) { fault(tc.f, tc.after)(w, r) })
			a := p.chat(stream)
			a.want(t, 200, "p0", 1)
			if n := len(splitEvents(a.Body)); a.Err == nil || n != tc.after {
				t.Errorf("the client saw %d events and %v, want %d and an error\n%s", n, a.Err, tc.after, a.Body)
			}
			if n := len(p.seen("p1")); n != 0 {
				t.Errorf("p1 was asked %d times", n)
			}
			e := p.event(a)
			if e.Data.Status != "failed" || e.Data.Usage.Source != "estimated" || e.Data.Amount == "0" || outcomes(e) != tc.outcome {
				t.Errorf("BILL-8: the event says %s, %s for %+v, %q", e.Data.Status, e.Data.Amount, e.Data.Usage, outcomes(e))
			}
		})
	}
	t.Run("FALL-1 reset within an event", func(t *testing.T) {
		t.Parallel()
		p := newProbe(t)
		whole, half := sse("\n", chunkRole), "data: {\"id\":"
		p.on("p0", raw(fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 10000\r\n\r\n%s%s", whole, half)))
		a := p.chat(stream)
		a.want(t, 200, "p0", 1)
		if a.Err == nil || !strings.HasPrefix(shown(whole, "p0", true)+half, a.Body) {
			t.Errorf("the client saw %q, %v", a.Body, a.Err)
		}
	})
}
