package demo_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

func certificate(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLS(t *testing.T) {
	h := startTLS(t, demo.Config{}, certificate(t))
	a := h.post(t, "/chat/completions", chatStream)
	if a.Proto != "HTTP/2.0" || len(data(a.body)) != 11 {
		t.Errorf("%s %q", a.Proto, a.body)
	}
	h.Set(demo.Behaviour{Fault: demo.FaultReset})
	if _, err := h.try(t, "/chat/completions", chat); err == nil || !strings.Contains(err.Error(), "stream error") {
		t.Errorf("reset of a stream: %v", err)
	}
	h.Set(demo.Behaviour{Fault: demo.FaultReset, FaultAfter: 2})
	if a := h.post(t, "/chat/completions", chatStream); a.error == nil || len(data(a.body)) != 2 {
		t.Errorf("reset in a stream: %v %q", a.error, a.body)
	}
	if got := h.seen(t, 3); got[0].Proto != "HTTP/2.0" || got[2].ClientLeft {
		t.Errorf("%+v", got)
	}
}

// The end of Serve ends an answer that hangs, and does not blame the client.
func TestStopEndsAnswers(t *testing.T) {
	p := demo.New(demo.Config{Behaviour: demo.Behaviour{Fault: demo.FaultHang}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- demo.Serve(ctx, ln, p) }()
	client := &http.Client{Transport: &http.Transport{}}
	answered := make(chan error, 1)
	go func() {
		resp, err := client.Post("http://"+ln.Addr().String()+"/v1/responses", "application/json", strings.NewReader(chat))
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	if _, err := p.Await(ctx, func(all []demo.Request) bool { return len(all) > 0 }); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := <-answered; err == nil {
		t.Error("the client got an answer")
	}
	client.CloseIdleConnections()
	if got := p.Requests(); len(got) != 1 || !got[0].Done || got[0].ClientLeft {
		t.Errorf("%+v", got)
	}
}

func TestRequestLog(t *testing.T) {
	h := start(t, demo.Config{KeepLast: 3, KeepBodies: 150})
	for _, id := range []string{"a", "b", "c", "d"} {
		h.post(t, "/chat/completions?x=1", strings.Replace(chat, `"m"`, `"`+id+`"`, 1), "x-test", id)
	}
	got := h.seen(t, 2) // two bodies of 57 bytes fit into 150
	if r := got[1]; r.Model != "d" || r.Method != "POST" || r.Path != "/v1/chat/completions?x=1" || r.ID != 4 ||
		r.Header.Get("x-test") != "d" || !strings.Contains(r.Body, `"d"`) || r.Status != 200 || r.ClientLeft {
		t.Errorf("%+v", r)
	}
	got[0].Header.Set("x-test", "changed")
	if h.Requests()[0].Header.Get("x-test") != "c" {
		t.Error("Requests returned the log's own headers")
	}
	h.ForgetRequests()
	for range 4 {
		h.post(t, "/chat/completions", `{"model":"m"}`)
	}
	h.seen(t, 3)
}

// A client that leaves after its answer has not left before the end of it.
func TestLeftAfterTheAnswer(t *testing.T) {
	p := demo.New(demo.Config{})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/chat/completions", strings.NewReader(chat))
	p.ServeHTTP(httptest.NewRecorder(), r)
	if got := p.Requests()[0]; got.Status != 200 || !got.Done || got.ClientLeft {
		t.Errorf("%+v", got)
	}
}

func TestAwait(t *testing.T) {
	p := demo.New(demo.Config{Name: "novita"})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough of it")
	cancel(why)
	if _, err := p.Await(ctx, demo.AllDone(1)); !errors.Is(err, why) || !strings.Contains(err.Error(), "novita") {
		t.Errorf("%v", err)
	}
	if all, err := p.Await(ctx, demo.AllDone(0)); err != nil || len(all) != 0 {
		t.Errorf("%v %v", all, err)
	}
}

func TestControl(t *testing.T) {
	h := start(t, demo.Config{})
	control := func(method, path, body string, want int) string {
		t.Helper()
		a, err := h.do(t, method, h.root+"/_demo/"+path, body)
		if err != nil || a.StatusCode != want {
			t.Fatalf("%s %s: %v %v, want %d", method, path, err, a, want)
		}
		return a.body
	}
	status := func(want int) {
		t.Helper()
		if got := h.post(t, "/chat/completions", chat).StatusCode; got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	control("PUT", "behaviour", `{"ttft":"1ms","fail":{"status":429}}`, 204)
	status(429)
	control("PUT", "behaviour?model=m", `{"fail":{"status":402}}`, 204)
	status(402)
	control("POST", "script", `[{"fail":{"status":500}},{}]`, 204)
	if got := control("GET", "behaviour", "", 200); !strings.Contains(got, `"ttft":"1ms","fail":{"status":429}`) ||
		!strings.Contains(got, `"m":{"fail":{"status":402}}`) || !strings.Contains(got, `"script":[{"fail":{"status":500}},{}]`) {
		t.Error(got)
	}
	status(500)
	status(200)
	status(402)
	control("DELETE", "behaviour", "", 204)
	status(200)
	if got := decode[[]demo.Request](t, control("GET", "requests", "", 200)); len(got) != 6 || got[0].Body != chat {
		t.Errorf("%+v", got)
	}
	control("DELETE", "requests", "", 204)
	if got := strings.TrimSpace(control("GET", "requests", "", 200)); got != "[]" {
		t.Error(got)
	}
	for _, wrong := range []string{`{"tttf":"1s"}`, `{"ttft":1}`, `{"failure_rate":2}`, `{} {}`, ``, `{"fault":"explode"}`} {
		control("PUT", "behaviour", wrong, 400)
	}
	control("POST", "script", `[{},{"tokens":-1}]`, 400)
	control("GET", "nothing", "", 404)
}

func TestValidate(t *testing.T) {
	b := demo.Behaviour{
		TTFT: -1, FailureRate: 2, Fail: &demo.Failure{Status: 200}, Fault: "x",
		Usage: demo.Usage{When: "x", Where: "x"}, Stream: demo.Stream{SplitAt: []int{3, 3}},
	}
	err := b.Validate()
	if err == nil || strings.Count(err.Error(), "\n") != 7 {
		t.Errorf("want every fault reported, got: %v", err)
	}
}
