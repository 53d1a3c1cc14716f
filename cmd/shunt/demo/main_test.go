package demo_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Check(m.Run())) }

// host is a provider that serves for one test.
type host struct {
	*demo.Provider
	url    string // of the API: …/v1
	root   string
	client *http.Client
}

// start serves a provider until the test ends.
func start(t *testing.T, c demo.Config) *host {
	t.Helper()
	return startTLS(t, c, nil)
}

func startTLS(t *testing.T, c demo.Config, cert *tls.Certificate) *host {
	t.Helper()
	if c.Name == "" {
		c.Name = "novita"
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{Provider: demo.New(c), root: "http://" + ln.Addr().String()}
	transport := &http.Transport{DisableCompression: true}
	if cert != nil {
		h.root = "https://" + ln.Addr().String()
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // the test's own certificate
		transport.ForceAttemptHTTP2 = true
	}
	h.url, h.client = h.root+"/v1", &http.Client{Transport: transport}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		if cert != nil {
			ended <- demo.ServeTLS(ctx, ln, h.Provider, *cert)
			return
		}
		ended <- demo.Serve(ctx, ln, h.Provider)
	}()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return h
}

// answer is what a client got.
type answer struct {
	*http.Response
	body  string
	error error // from reading the body
}

// post sends JSON; a transport error fails the test.
func (h *host) post(t *testing.T, path, body string, headers ...string) answer {
	t.Helper()
	a, err := h.try(t, path, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (h *host) try(t *testing.T, path, body string, headers ...string) (answer, error) {
	t.Helper()
	return h.do(t, http.MethodPost, h.url+path, body, headers...)
}

func (h *host) do(t *testing.T, method, url, body string, headers ...string) (answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := h.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{resp, string(data), err}, nil
}

const (
	chat       = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	chatStream = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	chatUsage  = `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}`
	tools      = `"tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object"}}}]`
)

// decode reads JSON into a T.
func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(&v); err != nil {
		t.Fatalf("%v in %.300s", err, text)
	}
	return v
}

// data returns the values of a stream's data lines.
func data(stream string) (all []string) {
	for line := range strings.SplitSeq(stream, "\n") {
		if value, ok := strings.CutPrefix(strings.TrimSuffix(line, "\r"), "data: "); ok {
			all = append(all, value)
		}
	}
	return all
}

// chunk is what the tests look at in a JSON answer or a chunk.
type chunk struct {
	Object  string
	Choices []struct {
		Message, Delta struct {
			Content   *string
			Reasoning string `json:"reasoning_content"`
		}
		Text         string
		FinishReason string `json:"finish_reason"`
	}
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		PDetails   struct {
			Cached     int `json:"cached_tokens"`
			CacheWrite int `json:"cache_write_tokens"`
		} `json:"prompt_tokens_details"`
		CDetails struct {
			Reasoning int `json:"reasoning_tokens"`
		} `json:"completion_tokens_details"`
	}
}

// errorAnswer is the API's error shape.
type errorAnswer struct {
	Error struct{ Message, Type, Code string }
}

// seen waits until the provider has seen n requests and ended every answer.
func (h *host) seen(t *testing.T, n int) []demo.Request {
	t.Helper()
	return h.await(t, demo.AllDone(n))
}

func (h *host) await(t *testing.T, enough func([]demo.Request) bool) []demo.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all, err := h.Await(ctx, enough)
	if err != nil {
		t.Fatalf("%v: %+v", err, all)
	}
	return all
}
