package e2e

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"testing"
)

// headersOnly sends the headers of an answer, and then nothing.
func headersOnly(contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", contentType)
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// FALL-1: an answer has begun when there is something of it, not when its headers are
// there.
func TestFirstToken(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
	for way, l := range map[string]*lab{
		"directly":      newLab(t, labOptions{Models: 8, Each: forAll("timeout: {connect: 3s, first_byte: 3s, idle: 20s}")}),
		"the timed way": newLab(t, labOptions{Models: 8, Each: map[string]string{"p0": "timeout: {connect: 3s, first_byte: 3s, idle: 20s}"}}),
	} {
		for name, tc := range map[string]struct {
			first   http.HandlerFunc
			outcome string
		}{
			"a stream's headers, then nothing": {headersOnly("text/event-stream"), "p0 timeout 0"},
			"headers of JSON, then nothing":    {headersOnly("application/json"), "p0 timeout 0"},
			"headers, then the end":            {raw(head), "p0 reset 0"},
		} {
			t.Run("FALL-1 "+name+", "+way, func(t *testing.T) {
				t.Parallel()
				p := l.probe(t)
				p.on("p0", tc.first)
				a := p.chat(stream)
				a.want(t, 200, "p1", 2)
				if got, want := outcomes(p.event(a)), tc.outcome+", p1 ok 200"; got != want {
					t.Errorf("the event's attempts are %q, want %q", got, want)
				}
			})
		}
		t.Run("FALL-1 a refusal's headers are enough, "+way, func(t *testing.T) {
			t.Parallel()
			p := l.probe(t)
			p.on("p0", func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(503)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
			a := p.chat(stream)
			a.want(t, 200, "p1", 2)
			if got, want := outcomes(p.event(a)), "p0 status 503, p1 ok 200"; got != want {
				t.Errorf("the event's attempts are %q, want %q", got, want)
			}
		})
		t.Run("FALL-1 a comment is a beginning, "+way, func(t *testing.T) {
			t.Parallel()
			p := l.probe(t)
			p.on("p0", pieces("text/event-stream", ": thinking\n\n", sse("\n", chunkRole, chunkStop, chunkUsage, done)))
			a := p.chat(streamAsked)
			if a.want(t, 200, "p0", 1); !strings.HasPrefix(a.Body, ": thinking\n\n") {
				t.Errorf("the client saw %q", a.Body)
			}
		})
	}
}

// What holds the headers back is what its source says.
func TestHoldIsAssembled(t *testing.T) {
	t.Parallel()
	out, err := nodeSDK(t, "node/assemble.mjs", "../../envoy/hold/hold.wat").Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../envoy/hold/hold.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, want) {
		t.Error("envoy/hold/hold.wasm is not what hold.wat makes; assemble it anew with wat2wasm of the npm package wabt")
	}
}
