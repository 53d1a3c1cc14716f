package extproc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/identity"
	"github.com/shunt-gateway/shunt/policy"
)

const testCatalog = `
providers:
  alpha: {endpoint: "http://127.0.0.1:1/a/v1", timeout: {first_byte: 3s, idle: 10s}}
  beta: {endpoint: "http://127.0.0.1:1/b", timeout: {first_byte: 5s, idle: 20s}}
models:
  m:
    aliases: [mm]
    price: {prompt: 1, completion: 2}
    offers:
      - {provider: alpha, model: up/alpha, price: {prompt: 1, completion: 1}, estimate: {ttft: 1ms}}
      - {provider: beta, model: up-beta, stream_usage: false, price: {prompt: 2, completion: 2}, estimate: {ttft: 2ms}}
`

func testDecider(t testing.TB, yaml string) *Decider {
	t.Helper()
	c, err := catalog.Parse(catalog.Source{Name: "test.yaml", Data: []byte(yaml), Dir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	live := &Live{}
	id, err := identity.NewReader(&c.Identity, nil)
	if err != nil {
		t.Fatal(err)
	}
	live.Store(&World{Snapshot: &policy.Snapshot{Catalog: c}, Identity: id})
	hasher, err := billing.NewHasher(make([]byte, billing.HasherKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return &Decider{
		Live: live, Source: "test", Hasher: hasher,
		Now:  func() time.Time { return time.Unix(1_700_000_000, 0) },
		Rand: func() uint64 { return 1 },
	}
}

// fakeStream plays Envoy: it sends what is given and keeps what is answered.
type fakeStream struct {
	grpc.ServerStream
	ctx context.Context
	in  []*extprocv3.ProcessingRequest
	out []*extprocv3.ProcessingResponse
}

func (f *fakeStream) Context() context.Context { return f.ctx }

func (f *fakeStream) Recv() (*extprocv3.ProcessingRequest, error) {
	if len(f.in) == 0 {
		return nil, io.EOF
	}
	m := f.in[0]
	f.in = f.in[1:]
	return m, nil
}

func (f *fakeStream) Send(m *extprocv3.ProcessingResponse) error {
	f.out = append(f.out, m)
	return nil
}

func requestHeaders(end bool, kv ...string) *extprocv3.ProcessingRequest {
	h := &corev3.HeaderMap{}
	for i := 0; i+1 < len(kv); i += 2 {
		h.Headers = append(h.Headers, &corev3.HeaderValue{Key: kv[i], RawValue: []byte(kv[i+1])})
	}
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{
		RequestHeaders: &extprocv3.HttpHeaders{Headers: h, EndOfStream: end},
	}}
}

func requestBody(body string, end bool) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{
		RequestBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: end},
	}}
}

func testServer(d *Decider) *Server {
	return &Server{Decider: d, Log: slog.New(slog.DiscardHandler)}
}

// process runs one stream; phase is "" for the first decision.
func process(t testing.TB, s *Server, phase string, in ...*extprocv3.ProcessingRequest) ([]*extprocv3.ProcessingResponse, error) {
	t.Helper()
	ctx := context.Background()
	if phase != "" {
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(names.PhaseKey, phase))
	}
	f := &fakeStream{ctx: ctx, in: in}
	err := s.Process(f)
	return f.out, err
}

func chat(body string, headers ...string) []*extprocv3.ProcessingRequest {
	h := append([]string{":path", "/v1/chat/completions?a=b", "x-request-id", "id-1", "authorization", "Bearer sk-123"}, headers...)
	return []*extprocv3.ProcessingRequest{requestHeaders(false, h...), requestBody(body, true)}
}

func headersSet(r *extprocv3.ProcessingResponse) map[string]string {
	out := map[string]string{}
	for _, h := range r.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		out[h.GetHeader().GetKey()] = string(h.GetHeader().GetRawValue())
	}
	return out
}

func TestFirstAttempt(t *testing.T) {
	body := `{ "model" : "mm", "provider":{"order":["alpha"]}, "messages":[], "n":1e0 }`
	out, err := process(t, testServer(testDecider(t, testCatalog)), "", chat(body)...)
	if err != nil || len(out) != 2 {
		t.Fatalf("got %d answers, %v", len(out), err)
	}
	// REQ-1: every other byte is left as it was.
	const want = `{ "model" : "up/alpha", "messages":[], "n":1e0 }`
	if got := string(out[1].GetRequestBody().GetResponse().GetBodyMutation().GetBody()); got != want {
		t.Errorf("body\n got %s\nwant %s", got, want)
	}
	h := headersSet(out[0])
	for name, want := range map[string]string{
		":path":                                  "/a/v1/chat/completions?a=b",
		"content-length":                         strconv.Itoa(len(want)),
		"x-envoy-max-retries":                    "1",
		"x-envoy-upstream-rq-per-try-timeout-ms": "5000",
		names.HeaderRoute:                        names.Route(20 * time.Second),
	} {
		if h[name] != want {
			t.Errorf("%s: got %q, want %q", name, h[name], want)
		}
	}
	if !out[0].GetRequestHeaders().GetResponse().GetClearRouteCache() {
		t.Error("the route is not matched again")
	}
	ns := out[0].GetDynamicMetadata().GetFields()[names.Namespace].GetStructValue().GetFields()
	groups := ns[names.KeyPriorityGroups].GetListValue().GetValues()
	if len(groups) != 2 || groups[0].GetStructValue().GetFields()["name"].GetStringValue() != names.TimedGroup("alpha") ||
		groups[1].GetStructValue().GetFields()["name"].GetStringValue() != "beta" {
		t.Errorf("chain: %v", groups)
	}
	q, err := billing.ParseQuote(ns[names.KeyQuote].GetStringValue())
	if err != nil {
		t.Fatal(err)
	}
	if q.ID != "id-1" || len(q.Subject) != 32 || q.Kind != policy.KindExplicit || len(q.Offers) != 2 || q.RequestBytes != int64(len(body)) {
		t.Errorf("quote: %+v", q)
	}
	if strings.Contains(out[0].String(), "sk-123") {
		t.Error("SEC-2: the caller's key is in the answer")
	}
}

func TestRefusal(t *testing.T) {
	s := testServer(testDecider(t, testCatalog))
	for _, tc := range []struct {
		name, body string
		status     int32
		code       string
	}{
		{"API-6 malformed", `{"model":`, 400, "invalid_json"},
		{"REQ-1 duplicate key", `{"model":"m","model":"m"}`, 400, "invalid_json"},
		{"API-6 no model", `{"messages":[]}`, 400, "missing_model"},
		{"REQ-2 unknown model", `{"model":"nope"}`, 404, "model_not_found"},
		{"API-6 empty", ``, 400, "invalid_json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := process(t, s, "", chat(tc.body)...)
			if err != nil || len(out) != 1 {
				t.Fatalf("got %d answers, %v", len(out), err)
			}
			r := out[0].GetImmediateResponse()
			if int32(r.GetStatus().GetCode()) != tc.status || !strings.Contains(string(r.GetBody()), `"code":"`+tc.code+`"`) {
				t.Errorf("got %v %s", r.GetStatus(), r.GetBody())
			}
			if !strings.HasPrefix(r.GetDetails(), "shunt_") {
				t.Errorf("details %q: Envoy's error pages would overwrite the answer", r.GetDetails())
			}
		})
	}
}

// API-6: whatever is wrong with a body, the message is English.
func TestRefusalOfBody(t *testing.T) {
	s := testServer(testDecider(t, testCatalog))
	for body, want := range map[string]string{
		`{"model":"m","model":"m"}`: `invalid request body: ambiguous: key \"model\" stands twice at byte 13`,
		`[]`:                        `invalid request body: not a JSON object at byte 0`,
		`{"model":"m",}`:            `invalid request body: not valid JSON: `,
	} {
		out, err := process(t, s, "", chat(body)...)
		if err != nil || len(out) != 1 || !strings.Contains(string(out[0].GetImmediateResponse().GetBody()), `"message":"`+want) {
			t.Errorf("%s: no %s in %v, %v", body, want, out, err)
		}
	}
}

func TestRetry(t *testing.T) {
	s := testServer(testDecider(t, testCatalog))
	first, err := process(t, s, "", chat(`{"model":"m","stream":true}`)...)
	if err != nil {
		t.Fatal(err)
	}
	sent := first[1].GetRequestBody().GetResponse().GetBodyMutation().GetBody()
	if string(sent) != `{"model":"up/alpha","stream":true,"stream_options":{"include_usage":true}}` {
		t.Fatalf("BILL-7: attempt 1 was %s", sent)
	}
	retry := requestHeaders(false, "x-envoy-attempt-count", "2")
	retry.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		names.Namespace: first[0].GetDynamicMetadata().GetFields()[names.Namespace].GetStructValue(),
	}}
	out, err := process(t, s, names.PhaseRetry, retry, requestBody(string(sent), true))
	if err != nil || len(out) != 2 {
		t.Fatalf("got %d answers, %v", len(out), err)
	}
	// beta does not know stream_options, so what attempt 1 added is taken back.
	const want = `{"model":"up-beta","stream":true}`
	if got := string(out[1].GetRequestBody().GetResponse().GetBodyMutation().GetBody()); got != want {
		t.Errorf("body\n got %s\nwant %s", got, want)
	}
	if h := headersSet(out[0]); h[":path"] != "/b/chat/completions?a=b" || h["content-length"] != strconv.Itoa(len(want)) {
		t.Errorf("headers: %v", h)
	}
}

// SEC-6: nonsense ends its own stream with an error, and nothing else.
func TestNonsense(t *testing.T) {
	s := testServer(testDecider(t, testCatalog))
	for name, in := range map[string][]*extprocv3.ProcessingRequest{
		"body first":       {requestBody("{}", true)},
		"headers twice":    {requestHeaders(false), requestHeaders(false)},
		"empty message":    {{}},
		"trailers first":   {{Request: &extprocv3.ProcessingRequest_RequestTrailers{}}},
		"response headers": {{Request: &extprocv3.ProcessingRequest_ResponseHeaders{}}},
		"nil headers":      {{Request: &extprocv3.ProcessingRequest_RequestHeaders{}}},
	} {
		if out, err := process(t, s, "", in...); err == nil {
			t.Errorf("%s: no error, answers %v", name, out)
		}
	}
	for name, in := range map[string][]*extprocv3.ProcessingRequest{
		"no attempt count": {requestHeaders(true)},
		"no plan":          {requestHeaders(true, "x-envoy-attempt-count", "2")},
		"count no number":  {requestHeaders(true, "x-envoy-attempt-count", "two")},
	} {
		if out, err := process(t, s, names.PhaseRetry, in...); err == nil {
			t.Errorf("retry, %s: no error, answers %v", name, out)
		}
	}
}

// A body in several messages is put together; each message gets its answer.
func TestChunkedBody(t *testing.T) {
	out, err := process(t, testServer(testDecider(t, testCatalog)), "",
		requestHeaders(false, ":path", "/v1/chat/completions"),
		requestBody(`{"model":`, false), requestBody(`"m"}`, true))
	if err != nil || len(out) != 3 {
		t.Fatalf("got %d answers, %v", len(out), err)
	}
	if !out[1].GetRequestBody().GetResponse().GetBodyMutation().GetClearBody() ||
		string(out[2].GetRequestBody().GetResponse().GetBodyMutation().GetBody()) != `{"model":"up/alpha"}` {
		t.Errorf("answers: %v", out)
	}
}

// Trailers are refused, whether Envoy sends them or holds them back.
func TestTrailers(t *testing.T) {
	head := requestHeaders(false, ":path", "/v1/chat/completions")
	trailers := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: &extprocv3.HttpTrailers{}}}
	for name, in := range map[string][]*extprocv3.ProcessingRequest{
		"held back":     {head, requestBody(`{"model":"m"} `, false)},
		"after a body":  {head, requestBody(`{"model":`, false), trailers},
		"after no body": {head, trailers},
	} {
		out, err := process(t, testServer(testDecider(t, testCatalog)), "", in...)
		if err != nil || len(out) != 1 || out[0].GetImmediateResponse().GetStatus().GetCode() != 400 {
			t.Errorf("%s: got %v, %v", name, out, err)
		}
	}
}

// SEC-4: beyond the bound the answer is 503 overloaded, with retry-after, at once.
func TestShed(t *testing.T) {
	s := testServer(testDecider(t, testCatalog))
	s.MaxInFlight = 1
	s.inFlight.Add(1) // one is being decided
	out, err := process(t, s, "", requestHeaders(false))
	if err != nil || len(out) != 1 {
		t.Fatalf("got %d answers, %v", len(out), err)
	}
	r := out[0].GetImmediateResponse()
	var after string
	for _, h := range r.GetHeaders().GetSetHeaders() {
		if h.GetHeader().GetKey() == "retry-after" {
			after = string(h.GetHeader().GetRawValue())
		}
	}
	if r.GetStatus().GetCode() != 503 || after == "" || !strings.Contains(string(r.GetBody()), `"overloaded"`) || s.Shed() != 1 {
		t.Errorf("got %v %q %s", r.GetStatus(), after, r.GetBody())
	}
}

// SEC-6: what goes wrong with the figures costs the request nothing.
func TestObserverPanics(t *testing.T) {
	s := testServer(testDecider(t, testCatalog))
	told := 0
	s.Observe = func(context.Context, *Outcome) { told++; panic("figures") }
	for range 2 {
		if out, err := process(t, s, "", chat(`{"model":"m","messages":[]}`)...); err != nil || len(out) == 0 {
			t.Fatalf("%v, %v", out, err)
		}
	}
	if told != 2 || s.InFlight() != 0 {
		t.Errorf("told %d times, %d in flight", told, s.InFlight())
	}
}

// A client that leaves before its decision is no fault.
func TestCanceled(t *testing.T) {
	s := testServer(testDecider(t, testCatalog))
	if _, err := process(t, s, "", requestHeaders(false)); err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

func FuzzProcess(f *testing.F) {
	f.Add("/v1/chat/completions", "x-provider", "alpha", []byte(`{"model":"m","stream":true,"messages":[]}`))
	f.Add("/v1/responses", "authorization", "Bearer", []byte(`{"model_id":"mm:beta","provider":{"order":["x"]}}`))
	s := testServer(testDecider(f, testCatalog))
	f.Fuzz(func(t *testing.T, path, header, value string, body []byte) {
		out, err := process(t, s, "", requestHeaders(false, ":path", path, header, value), requestBody(string(body), true))
		if err != nil || len(out) == 0 {
			t.Errorf("no answer: %v", err)
		}
	})
}

func BenchmarkProcess(b *testing.B) {
	// go test ./extproc -run '^$' -bench Process -benchmem
	s := testServer(testDecider(b, testCatalog))
	body := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("hello ", 160) + `"}]}`
	b.ReportAllocs()
	for b.Loop() {
		if out, err := process(b, s, "", chat(body)...); err != nil || len(out) != 2 {
			b.Fatal(err)
		}
	}
}
