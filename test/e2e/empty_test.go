package e2e

import "testing"

// BILL-8: an answer of no tokens that does not say why it ended costs nothing, and
// its event says why. Any finish reason makes it one that is charged for.
func TestEmptyAnswers(t *testing.T) {
	t.Parallel()
	const (
		sse   = "text/event-stream"
		asked = `,"stream":true,"stream_options":{"include_usage":true}`
		none  = `"usage":{"prompt_tokens":1000,"completion_tokens":0,"total_tokens":1000}`
		done  = "data: [DONE]\n\n"
	)
	for _, tc := range []struct{ name, path, more, kind, body, note string }{
		{"BILL-8 a stream of nothing", chatPath, asked, sse, `data: {"id":"x","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}` + "\n\n" +
			`data: {"id":"x","choices":[],` + none + `}` + "\n\n" + done, "empty_answer"},
		{"BILL-8 a stream that ends at once", chatPath, asked, sse, done, "empty_answer"},
		{"BILL-8 a stream with a reason", chatPath, asked, sse, `data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason": "length"}]}` + "\n\n" +
			`data: {"id":"x","choices":[],` + none + `}` + "\n\n" + done, ""},
		{"BILL-8 JSON of nothing", chatPath, "", "application/json", `{"id":"x","choices":[{"index":0,"message":{"content":""},"finish_reason":null}],` + none + `}`, "empty_answer"},
		{"BILL-8 no body", chatPath, "", "application/json", "", "empty_answer"},
		{"BILL-8 JSON with a reason", chatPath, "", "application/json", `{"id":"x","choices":[{"index":0,"message":{"content":"\"finish_reason\":null"},"finish_reason" : "stop"}],` + none + `}`, ""},
		{"BILL-8 a reason that a model wrote", chatPath, "", "application/json", `{"id":"x","choices":[{"index":0,"message":{"content":"\"finish_reason\":\"stop\""},"finish_reason":null}],` + none + `}`, "empty_answer"},
		{"BILL-8 a response that is complete", "/v1/responses", "", "application/json", `{"id":"x","object":"response","status":"completed","output":[],"usage":{"input_tokens":1000,"output_tokens":0,"total_tokens":1000}}`, ""},
		{"BILL-8 a 200 that is an error", chatPath, asked, sse, `data: {"error":{"message":"no"}}` + "\n\n", "error_answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			p.on("p0", reply(200, tc.kind, tc.body))
			a := p.post(tc.path, p.body(tc.more))
			a.want(t, 200, "p0", 1)
			e := p.event(a)
			if e.Data.Note != tc.note || (e.Data.Amount == "0") != (tc.note != "") {
				t.Errorf("note %q, amount %s, usage %+v; want note %q", e.Data.Note, e.Data.Amount, e.Data.Usage, tc.note)
			}
		})
	}
}
