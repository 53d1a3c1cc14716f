package extproc

import (
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/policy"
)

// groups are the chain, as Envoy is told.
func groups(out []*extprocv3.ProcessingResponse) string {
	var list []string
	for _, v := range shuntsMetadata(out).GetFields()[names.KeyPriorityGroups].GetListValue().GetValues() {
		list = append(list, v.GetStructValue().GetFields()["name"].GetStringValue())
	}
	return strings.Join(list, " ")
}

func shuntsMetadata(out []*extprocv3.ProcessingResponse) *structpb.Struct {
	return out[0].GetDynamicMetadata().GetFields()[names.Namespace].GetStructValue()
}

// Which way attempts take, and how long they may wait, by what was configured and asked.
func TestWaits(t *testing.T) {
	for _, tc := range []struct {
		name, routing, firstByte, timeout string
		groups, perTry, wait, deadline    string
		second                            string // the wait of attempt 2, begun after 2s
	}{
		{name: "nothing", groups: "alpha! beta", perTry: "5000"},
		{name: "longer than any", firstByte: "6s", groups: "alpha! beta", perTry: "5000"},
		{name: "between", firstByte: "4s", groups: "alpha! beta", perTry: "4000"},
		{name: "shorter than all", firstByte: "2s", groups: "alpha beta", perTry: "2000"},
		{name: "all the timed way", routing: "fallback_on: [timeout]", firstByte: "2s", groups: "alpha! beta!", perTry: "0", wait: "2000", second: "2000"},
		{name: "all the timed way, own times", routing: "fallback_on: [timeout]", firstByte: "9s", groups: "alpha! beta!", perTry: "0"},
		{name: "a far deadline", routing: "deadline: 12s", groups: "alpha! beta", perTry: "5000"},
		{name: "a deadline in the second", routing: "deadline: 6s", groups: "alpha! beta!", perTry: "5000", second: "4000 deadline"},
		{name: "a deadline in the first", routing: "deadline: 2500ms", groups: "alpha! beta!", perTry: "5000", wait: "2500", deadline: "1", second: "500 deadline"},
		{name: "asked for", routing: "deadline: 1h", timeout: "2500ms", groups: "alpha! beta!", perTry: "5000", wait: "2500", deadline: "1", second: "500 deadline"},
		{name: "asked for, and none is configured", timeout: "2500ms", groups: "alpha! beta", perTry: "5000"},
		{name: "both", routing: "deadline: 6s", firstByte: "4s", groups: "alpha! beta!", perTry: "4000", second: "4000"},
		{name: "all but in time", routing: "deadline: 5999ms", firstByte: "4s", groups: "alpha! beta!", perTry: "4000", second: "3950 deadline"},
		{name: "both, and time enough", routing: "deadline: 9s", firstByte: "2s", groups: "alpha beta", perTry: "2000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := testDecider(t, testCatalog+"routing: {"+tc.routing+"}\n")
			s := testServer(d)
			var headers []string
			if tc.firstByte != "" {
				headers = append(headers, names.HeaderFirstByte, tc.firstByte)
			}
			if tc.timeout != "" {
				headers = append(headers, names.HeaderTimeout, tc.timeout)
			}
			out, err := process(t, s, "", chat(`{"model":"m"}`, headers...)...)
			if err != nil || len(out) != 2 {
				t.Fatalf("%d answers, %v", len(out), err)
			}
			h := headersSet(out[0])
			if got := groups(out); got != tc.groups || h["x-envoy-upstream-rq-per-try-timeout-ms"] != tc.perTry ||
				h[names.HeaderWait] != tc.wait || h[names.HeaderDeadline] != tc.deadline {
				t.Errorf("chain %s, headers %v", got, h)
			}
			passes(d, 2*time.Second)
			got := headersSet(again(t, s, out, 2))
			wait := got[names.HeaderWait]
			if got[names.HeaderDeadline] == "1" {
				wait += " deadline"
			}
			if wait != tc.second {
				t.Errorf("attempt 2 waits %q, want %q", wait, tc.second)
			}
		})
	}
}

// passes sets the clock forward.
func passes(d *Decider, t time.Duration) {
	now := d.Now().Add(t)
	d.Now = func() time.Time { return now }
}

// again is what shunt says to attempt n of a request that it decided.
func again(t *testing.T, s *Server, first []*extprocv3.ProcessingResponse, n int) *extprocv3.ProcessingResponse {
	t.Helper()
	m := requestHeaders(false, "x-envoy-attempt-count", strconv.Itoa(n))
	m.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{names.Namespace: shuntsMetadata(first)}}
	sent := first[1].GetRequestBody().GetResponse().GetBodyMutation().GetBody()
	out, err := process(t, s, names.PhaseRetry, m, requestBody(string(sent), true))
	if err != nil || len(out) == 0 {
		t.Fatalf("attempt %d: %d answers, %v", n, len(out), err)
	}
	return out[0]
}

// Attempts that would begin too late are answered for.
func TestTooLate(t *testing.T) {
	for _, tc := range []struct {
		name, routing string
		took          time.Duration
		attempt       int
		status        int32
		code          string
	}{
		{"in time", "deadline: 2s, fallback_within: 1s", 999 * time.Millisecond, 2, 0, ""},
		{"after fallback_within", "deadline: 2s, fallback_within: 1s", time.Second, 2, 502, "all_providers_failed"},
		{"a third attempt after fallback_within", "models_are: here", time.Second, 3, 0, ""},
		{"at the deadline", "deadline: 2s, fallback_within: 1s", 2 * time.Second, 2, 504, "deadline_exceeded"},
		{"a third at the deadline", "deadline: 2s", 3 * time.Second, 3, 504, "deadline_exceeded"},
		{"no limits", "", time.Hour, 2, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			yaml, body := testCatalog, `{"model":"m","models":["n"]}`
			yaml += "  n: {offers: [{provider: alpha, model: up-n}]}\n"
			routing := strings.Replace(tc.routing, "models_are: here", "fallback_within: 1s", 1)
			d := testDecider(t, yaml+"routing: {"+routing+"}\n")
			s := testServer(d)
			out, err := process(t, s, "", chat(body)...)
			if err != nil {
				t.Fatal(err)
			}
			passes(d, tc.took)
			got := again(t, s, out, tc.attempt)
			i := got.GetImmediateResponse()
			if tc.status == 0 {
				if i != nil {
					t.Fatalf("answered %v", i)
				}
				return
			}
			var attempts string
			for _, h := range i.GetHeaders().GetSetHeaders() {
				if h.GetHeader().GetKey() == names.HeaderAttempts {
					attempts = string(h.GetHeader().GetRawValue())
				}
			}
			if int32(i.GetStatus().GetCode()) != tc.status || !strings.Contains(string(i.GetBody()), `"code":"`+tc.code+`"`) ||
				attempts != strconv.Itoa(tc.attempt-1) || !strings.HasPrefix(i.GetDetails(), "shunt_") {
				t.Errorf("got %v, attempts %q", got, attempts)
			}
		})
	}
}

// What is no duration is refused, by the name that clients know.
func TestLimitsRefused(t *testing.T) {
	s := testServer(testDecider(t, testCatalog+"routing: {deadline: 1m}\n"))
	for _, header := range []string{"X-First-Byte-Timeout", "X-Request-Timeout"} {
		for _, value := range []string{"5", "0s", "-1s", "1us", "25h", "soon", "", "9999999999h"} {
			out, err := process(t, s, "", chat(`{"model":"m"}`, strings.ToLower(header), value)...)
			if err != nil {
				t.Fatal(err)
			}
			i := out[0].GetImmediateResponse()
			if i.GetStatus().GetCode() != 400 || !strings.Contains(string(i.GetBody()), `"param":"`+header+`","code":"invalid_parameter"`) {
				t.Errorf("%s %q: %v %s", header, value, i.GetStatus(), i.GetBody())
			}
		}
		out, err := process(t, s, "", chat(`{"model":"m"}`, strings.ToLower(header), "3s", strings.ToLower(header), "3s")...)
		if err != nil || out[0].GetImmediateResponse().GetStatus().GetCode() != 400 {
			t.Errorf("%s twice: %v, %v", header, out, err)
		}
	}
	out, err := process(t, testServer(testDecider(t, testCatalog)), "", chat(`{"model":"m"}`, names.HeaderTimeout, "30")...)
	if err != nil || len(out) != 2 {
		t.Errorf("without a deadline it is not ours: %v, %v", out, err)
	}
}

// Where all offers of a chain cool down, Envoy is told until when.
func TestUsable(t *testing.T) {
	d := testDecider(t, testCatalog)
	w := *d.Live.Load()
	health := func(alpha, beta time.Duration) {
		snap := *w.Snapshot
		list := make([]policy.OfferHealth, 2)
		for i, in := range []time.Duration{alpha, beta} {
			if in > 0 {
				list[i].CoolingTill = d.Now().Add(in)
			}
		}
		snap.Health = policy.NewHealth(list)
		next := w
		next.Snapshot = &snap
		d.Live.Store(&next)
	}
	for _, tc := range []struct {
		alpha, beta time.Duration
		want        int
	}{{0, 0, 0}, {time.Second, 0, 0}, {0, time.Second, 0}, {1500 * time.Millisecond, 3 * time.Second, 2}} {
		health(tc.alpha, tc.beta)
		out, err := process(t, testServer(d), "", chat(`{"model":"m"}`)...)
		if err != nil {
			t.Fatal(err)
		}
		f := out[0].GetDynamicMetadata().GetFields()[names.AnswerNamespace].GetStructValue().GetFields()[names.KeyUsable].GetStructValue().GetFields()
		if len(f) != tc.want {
			t.Errorf("%v, %v: %v", tc.alpha, tc.beta, f)
		}
		if at := float64(d.Now().Add(tc.alpha).UnixMilli()); tc.want > 0 && f["alpha"].GetNumberValue() != at {
			t.Errorf("alpha is usable at %v, want %v", f["alpha"].GetNumberValue(), at)
		}
	}
}

// An attempt that another follows counts against its offer in the budget, unless it was
// in a hurry, or another catalog's.
func TestBlame(t *testing.T) {
	d := testDecider(t, testCatalog+"routing: {retry_budget: {}}\n")
	w := *d.Live.Load()
	w.Budget = NewBudget(w.Snapshot.Catalog)
	d.Live.Store(&w)
	s := testServer(d)
	for _, tc := range []struct {
		headers []string
		want    int32
	}{{nil, 1}, {nil, 2}, {[]string{names.HeaderFirstByte, "10ms"}, 2}, {nil, 3}} {
		out, err := process(t, s, "", chat(`{"model":"m"}`, tc.headers...)...)
		if err != nil {
			t.Fatal(err)
		}
		again(t, s, out, 2)
		if got := w.Budget.offers[0].failed.Load(); got != tc.want || w.Budget.offers[1].failed.Load() != 0 {
			t.Errorf("%v: %d failures, want %d", tc.headers, got, tc.want)
		}
	}
	out, err := process(t, s, "", chat(`{"model":"m"}`)...)
	if err != nil {
		t.Fatal(err)
	}
	next := testDecider(t, testCatalog+"routing: {retry_budget: {share: 1%}}\n").Live.Load()
	next.Budget = NewBudget(next.Snapshot.Catalog)
	d.Live.Store(next)
	again(t, s, out, 2)
	if got := next.Budget.offers[0].failed.Load(); got != 0 {
		t.Errorf("another catalog's offer was blamed")
	}
}
