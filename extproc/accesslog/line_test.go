package accesslog

import (
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// What a real Envoy 1.40 wrote.
const (
	endLine = `{"cluster":"shunt_provider_p","code":200,"details":"via_upstream","first":6643,"flags":"-","id":"40fdda6d-f7f9-4008-bf1b-3d6fb036992b","k":"end","ms":6,"provider":"p","sent":310,"start":"1795356405.415500000","tries":2,"us":6895,"usage":"{\"prompt_tokens\":11,\"completion_tokens\":22,\"total_tokens\":33,\"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":7}}"}`

	attemptLine = `{"cluster":"shunt_provider_bad","code":503,"first":1352,"flags":"-","id":"40fdda6d-f7f9-4008-bf1b-3d6fb036992b","k":"attempt","ms":1,"provider":"bad","retry-after":"3","start":"1795356405.418971000"}`
	cutLine     = `{"cluster":"shunt_provider_p","code":200,"details":"via_upstream","first":12253,"flags":"-","id":"cac547b2-158c-45ce-b228-2768ed5fb482","k":"end","ms":12,"no_finish":true,"provider":"p","sent":315,"start":"1795356405.381752000","tries":1,"us":12688}`
	goneLine    = `{"id":"6d5a65df-5229-4f10-94cf-939ea1caae1b","k":"gone"}`

	lineOf = "40fdda6d-f7f9-4008-bf1b-3d6fb036992b"
)

func mustRead(t testing.TB, text string) line {
	t.Helper()
	l, err := readLine([]byte(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return l
}

func TestLineToRecord(t *testing.T) {
	l := mustRead(t, endLine)
	r, err := recordOf(l.entry())
	if err != nil {
		t.Fatal(err)
	}
	want := billing.Record{
		Start: time.Unix(1795356405, 415500000).UTC(), Duration: 6895 * time.Microsecond, TTFT: 6643 * time.Microsecond,
		Status: 200, AnswerBytes: 310, AttemptCount: 2, Provider: "p",
		Last: billing.Attempt{Outcome: billing.OutcomeOK, Status: 200},
		Usage: billing.Usage{
			Prompt: billing.Known(11), Completion: billing.Known(22), CacheRead: billing.Known(4), Reasoning: billing.Known(7),
		},
	}
	if l.id != lineOf || l.kind != names.LineEnd || compact(r) != compact(want) {
		t.Errorf("%+v\n got %+v\nwant %+v", l, *r, want)
	}
}

func TestLineToAttempt(t *testing.T) {
	l := mustRead(t, attemptLine)
	a, ours := attemptOf(l.entry())
	want := billing.Attempt{
		Provider: "bad", Outcome: billing.OutcomeStatus, Status: 503, Start: time.Unix(1795356405, 418971000).UTC(),
		Duration: time.Millisecond, TTFT: 1352 * time.Microsecond, RetryAfter: 3 * time.Second,
	}
	if !ours || a != want {
		t.Errorf("got %+v, want %+v", a, want)
	}
}

func TestLineWithoutUsage(t *testing.T) {
	l := mustRead(t, cutLine)
	r, err := recordOf(l.entry())
	if err != nil || r.Usage != (billing.Usage{}) || !r.NoFinish {
		t.Errorf("%+v, %v", r, err)
	}
}

// Every short name of a flag means what it means over gRPC.
func TestLineFlags(t *testing.T) {
	for flags, want := range map[string]billing.End{
		"DC": billing.EndClientGone, "DR": billing.EndClientGone, "DPE": billing.EndClientGone, "DT": billing.EndClientGone, "OM": billing.EndClientGone,
		"UR": billing.EndCut, "UC": billing.EndCut, "UPE": billing.EndCut, "UT": billing.EndCut, "UMSDR": billing.EndCut, "LR": billing.EndCut,
		"UF": billing.EndCut, "UO": billing.EndCut, "UH": billing.EndCut, "SI": billing.EndCut, "URX,UF": billing.EndCut,
		"-": billing.EndClean, "": billing.EndClean, "XX,YY": billing.EndClean,
	} {
		l := mustRead(t, `{"k":"end","id":"a","flags":"`+flags+`"}`)
		if got := end(l.entry()); got != want {
			t.Errorf("%s: %v, want %v", flags, got, want)
		}
	}
	for flags, want := range map[string]billing.Outcome{
		"UF": billing.OutcomeConnectFailure, "DF": billing.OutcomeConnectFailure, "LH": billing.OutcomeConnectFailure, "NC": billing.OutcomeConnectFailure,
		"UT": billing.OutcomeTimeout, "UR": billing.OutcomeReset,
	} {
		l := mustRead(t, `{"k":"attempt","id":"a","flags":"`+flags+`"}`)
		if got := outcome(l.entry(), 0); got != want {
			t.Errorf("%s: %v, want %v", flags, got, want)
		}
	}
}

// What is no line is no line, and what follows a torn one is found.
func TestLinesThatAreNone(t *testing.T) {
	for _, text := range []string{
		"", "{", "null", "[]", `"k"`, `{"k":"end"}`, `{"id":"a"}`, `{"k":"end","id":""}`, `{"k":"end","id":7}`, `{"k":"other","id":"a"}`,
		`{"k":"end","id":"` + strings.Repeat("x", longestID+1) + `"}`, "\x00\x00\x00", endLine[:100], endLine[100:], "GET / HTTP/1.1",
		strings.Repeat(`{"`, 100),
	} {
		if l, err := readLine([]byte(text)); err == nil {
			t.Errorf("%.60q was read as %+v", text, l)
		}
	}
	for _, before := range []string{endLine[:1], endLine[:200], "\x00\x00\x00\x00", cutLine[:200], "  "} {
		if l, err := readLine([]byte(before + goneLine)); err != nil || l.kind != names.LineGone {
			t.Errorf("behind %.60q: %+v, %v", before, l, err)
		}
	}
}

// Odd figures are ones that can be worked with.
func TestLineOddFigures(t *testing.T) {
	for _, text := range []string{
		`{"k":"end","id":"a","us":-5,"ms":1e300,"first":"x","code":99999999999,"sent":-1,"tries":1e10,"start":"soon.x","usage":"}{"}`,
		`{"k":"end","id":"a","us":1e300,"code":true,"sent":1e300,"tries":null,"start":"9999999999999999.5","usage":"{\"prompt_tokens\":-1}","flags":7,"no_finish":{}}`,
	} {
		l := mustRead(t, text)
		r, _ := recordOf(l.entry())
		if r.Duration < 0 || r.Duration > longestRequest || r.TTFT != 0 || r.AnswerBytes < 0 || r.Status != 0 || !r.Start.IsZero() || r.Usage.Prompt.Known {
			t.Errorf("%s: %+v", text, r)
		}
	}
}
