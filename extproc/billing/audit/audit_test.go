package audit

import (
	"bytes"
	"encoding/csv"
	"errors"
	"os"
	"strings"
	"testing"
)

// whole is an event of an explicit selection with a tier, as docs/billing.md has it.
const whole = `{"specversion":"1.0","type":"shunt.usage.v1","id":"0b9c1f2e","source":"shunt/a",` +
	`"subject":"5f0c9a8b7e6d5c4b3a29180706f5e4d3","time":"2026-11-22T10:00:01.621456Z","datacontenttype":"application/json",` +
	`"data":{"started_at":"2026-11-22T10:00:00.123456Z","ended_at":"2026-11-22T10:00:01.621456Z","api":"chat","stream":true,` +
	`"requested_model":"kimi-k2.6","model":"moonshotai/kimi-k2.6","provider":"novita","upstream_model":"moonshotai/Kimi-K2.6","status":"completed",` +
	`"decision":{"kind":"explicit","catalog":"6b1ae52c","tiers":[{"above":0,"prompt":"0.6","completion":"2.5","cache_read":"0.15","cache_write":null},` +
	`{"above":2000,"prompt":"1.2","completion":"5","cache_read":"0.3","cache_write":null}],` +
	`"chain":[{"provider":"acme","upstream_model":"kimi-k2-6","price":{"prompt":"0.55","completion":"2.4","cache_read":null,"cache_write":null,"request":"0","markup":"0.05"}},` +
	`{"provider":"novita","upstream_model":"moonshotai/Kimi-K2.6","price":{"prompt":"0.6","completion":"2.5","cache_read":"0.15","cache_write":null,"request":"0","markup":"0.05"}}],` +
	`"chain_cut":0,"left_out":[{"provider":"cheap","reason":"in ignore"}],"left_out_cut":2},` +
	`"attempts":[{"provider":"acme","upstream_model":"kimi-k2-6","outcome":"status","status":503,"duration_ms":31},` +
	`{"provider":"novita","upstream_model":"moonshotai/Kimi-K2.6","outcome":"ok","status":200,"duration_ms":1460}],` +
	`"usage":{"source":"reported","prompt_tokens":1000,"completion_tokens":50,"cache_read_tokens":400,"cache_write_tokens":null,"reasoning_tokens":7},` +
	`"price":{"prompt":"0.6","completion":"2.5","cache_read":"0.15","cache_write":null,"request":"0","markup":"0.05"},` +
	`"amount":"0.00057225","list_amount":"0.00057225","currency":"USD","billing_mode":"paygo","note":null}}`

func check(t *testing.T, line string) string {
	t.Helper()
	e, err := Parse([]byte(line))
	if err != nil {
		return err.Error()
	}
	return strings.Join(Check(e), "; ")
}

// change makes edits, which must apply: from, to, from, to …
func change(t *testing.T, edits ...string) string {
	t.Helper()
	line := whole
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(line, edits[i]) {
			t.Fatalf("%s is not in %s", edits[i], line)
		}
		line = strings.Replace(line, edits[i], edits[i+1], 1)
	}
	return line
}

func TestCheckFindsNothingWrong(t *testing.T) {
	for name, line := range map[string]string{
		"as it is": whole,
		"without a note and all that came with it": change(t, `,"note":null`, "", `"tiers":[{"above":0,"prompt":"0.6","completion":"2.5","cache_read":"0.15","cache_write":null},{"above":2000,"prompt":"1.2","completion":"5","cache_read":"0.3","cache_write":null}],`, ""),
		"a failure before notes":                   change(t, `,"note":null`, "", `"completed"`, `"failed"`, `"amount":"0.00057225"`, `"amount":"0"`, `"list_amount":"0.00057225"`, `"list_amount":"0"`),
		"one of another spelling":                  change(t, `"amount":"0.00057225"`, `"amount":"0.000572250"`),
		"unsettled":                                change(t, `"completed"`, `"unsettled"`, `"reported","prompt_tokens":1000,"completion_tokens":50,"cache_read_tokens":400,"cache_write_tokens":null,"reasoning_tokens":7`, `"none"`, `"amount":"0.00057225"`, `"amount":"0"`, `"list_amount":"0.00057225"`, `"list_amount":null`),
		"a member of tomorrow":                     change(t, `"note":null`, `"note":null,"next":1`),
	} {
		if got := check(t, line); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// The event of the documentation adds up, and is the one that its text computes.
func TestDocumentedEvent(t *testing.T) {
	page, err := os.ReadFile("../../../docs/billing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	event, _, found := strings.Cut(rest, "\n```")
	if !found {
		t.Fatal("docs/billing.md shows no event")
	}
	if got := check(t, event); got != "" {
		t.Errorf("docs/billing.md: %s", got)
	}
}

// Whatever figure is changed, something does not add up.
func TestCheckFindsTampering(t *testing.T) {
	for name, c := range map[string]struct {
		line, want string
	}{
		"amount":                      {change(t, `"amount":"0.00057225"`, `"amount":"0.00057224"`), "by list_amount and billing_mode it is 0.00057225"},
		"both amounts":                {change(t, `"amount":"0.00057225","list_amount":"0.00057225"`, `"amount":"0.00057224","list_amount":"0.00057224"`), "list_amount is 0.00057224, recomputed 0.00057225"},
		"more tokens":                 {change(t, `"prompt_tokens":1000`, `"prompt_tokens":1001`), "recomputed 0.00057288"},
		"fewer completion tokens":     {change(t, `"completion_tokens":50`, `"completion_tokens":49`), "recomputed"},
		"cached tokens":               {change(t, `"cache_read_tokens":400`, `"cache_read_tokens":null`), "recomputed"},
		"another price":               {change(t, `"price":{"prompt":"0.6","completion":"2.5","cache_read":"0.15","cache_write":null,"request":"0","markup":"0.05"},"amount"`, `"price":{"prompt":"0.5","completion":"2.5","cache_read":"0.15","cache_write":null,"request":"0","markup":"0.05"},"amount"`), "not that of 1000 prompt tokens"},
		"another markup":              {change(t, `"markup":"0.05"},"amount"`, `"markup":"0.04"},"amount"`), "not the one that the chain has"},
		"another provider":            {change(t, `"provider":"novita","upstream_model":"moonshotai/Kimi-K2.6","status"`, `"provider":"acme","upstream_model":"kimi-k2-6","status"`), "not the one that the chain has for acme"},
		"a provider from nowhere":     {change(t, `"provider":"novita","upstream_model":"moonshotai/Kimi-K2.6","status"`, `"provider":"other","upstream_model":"moonshotai/Kimi-K2.6","status"`), "not in the chain"},
		"another tier":                {change(t, `"above":2000`, `"above":999`), "the tier above 999 holds"},
		"tiers out of order":          {change(t, `"above":0`, `"above":3000`), "tiers begin at 0"},
		"another kind":                {change(t, `"kind":"explicit"`, `"kind":"default"`), "default price has none"},
		"a subscription":              {change(t, `"paygo"`, `"subscription"`), "a subscription does not cover explicit"},
		"a failure":                   {change(t, `"completed"`, `"failed"`), "recomputed 0"},
		"a note":                      {change(t, `"note":null`, `"note":"error_answer"`), "note is error_answer, but the status is completed"},
		"an empty answer with tokens": {change(t, `"note":null`, `"note":"empty_answer"`), "with 50 completion tokens"},
		"an unknown note":             {change(t, `"note":null`, `"note":"waived"`), "not one of"},
		"a negative amount":           {change(t, `"amount":"0.00057225"`, `"amount":"-0.00057225"`), "not an amount"},
		"an exponent":                 {change(t, `"amount":"0.00057225"`, `"amount":"1e999999999"`), "not an amount"},
		"ten decimals":                {change(t, `"list_amount":"0.00057225"`, `"list_amount":"0.0005722500001"`), "more than 9 decimals"},
		"a number for an amount":      {change(t, `"amount":"0.00057225"`, `"amount":0.00057225`), "not an event"},
		"no amount":                   {change(t, `"amount":"0.00057225"`, `"amount":null`), "not an amount"},
		"no list amount":              {change(t, `"list_amount":"0.00057225"`, `"list_amount":null`), "list_amount is null"},
		"counts without a source":     {change(t, `"source":"reported"`, `"source":"none"`), "usage.source is none"},
		"more cached than prompt":     {change(t, `"cache_read_tokens":400`, `"cache_read_tokens":1001`), "cache_read_tokens is 1001"},
		"beyond belief":               {change(t, `"prompt_tokens":1000`, `"prompt_tokens":1000000001`), "prompt_tokens is 1000000001"},
		"time":                        {change(t, `"time":"2026-11-22T10:00:01`, `"time":"2026-11-22T10:00:02`), "ended_at"},
		"the end before the start":    {change(t, `"time":"2026-11-22T10:00:01`, `"time":"2026-11-22T09:00:01`, `"ended_at":"2026-11-22T10`, `"ended_at":"2026-11-22T09`), "before started_at"},
		"no id":                       {change(t, `"id":"0b9c1f2e"`, `"id":""`), "id or source is missing"},
		"another type":                {change(t, `shunt.usage.v1`, `shunt.usage.v2`), "type is"},
		"a member twice":              {change(t, `"stream":true`, `"stream":true,"stream":true`), `"stream" is there twice`},
		"torn":                        {whole[:len(whole)-1], "not JSON, or torn"},
		"two on one line":             {whole + whole, "something follows"},
		"a price that is negative":    {change(t, `"markup":"0.05"},"amount"`, `"markup":"-0.05"},"amount"`), "not"},
	} {
		if got := check(t, c.line); !strings.Contains(got, c.want) || got == "" {
			t.Errorf("%s: %q, want %q in it", name, got, c.want)
		}
	}
}

func TestReader(t *testing.T) {
	other := change(t, `"stream":true`, `"stream":false`)
	text := whole + "\n\n" + `{"id":"torn` + "\n" + whole + "\n" + other + "\n" + strings.Repeat("x", longestLine+2) + "\n" + change(t, `"source":"shunt/a"`, `"source":"shunt/b"`)
	rd := NewReader()
	var got []string
	each := func(l *Line) error {
		what := "event"
		switch {
		case l.Err != nil:
			what = l.Err.Error()
		case l.First != "":
			what = "again, first at " + l.First
		}
		got = append(got, l.At()+" "+what)
		return nil
	}
	if err := rd.Read("a", strings.NewReader(text), each); err != nil {
		t.Fatal(err)
	}
	if err := rd.Read("b", strings.NewReader(whole), each); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a:1 event", "a:3 not JSON, or torn: unexpected EOF", "a:4 again, first at a:1",
		"a:5 another event with the source and id of a:1", "a:6 longer than 1048576 bytes", "a:7 event", "b:1 again, first at a:1",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTotals(t *testing.T) {
	total, err := NewTotals([]string{"day", "provider", "caller"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		whole, whole, change(t, `"subject":"5f0c9a8b7e6d5c4b3a29180706f5e4d3",`, ""),
		change(t, `"provider":"novita","upstream_model":"moonshotai/Kimi-K2.6","status"`, `"provider":"=cmd()","upstream_model":null,"status"`, `"amount":"0.00057225","list_amount":"0.00057225"`, `"amount":"0","list_amount":null`),
		change(t, `"currency":"USD"`, `"currency":"EUR"`, `"completed"`, `"cancelled"`),
	} {
		e, err := Parse([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := total.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := total.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	const want = `day,provider,caller,currency,events,completed,cancelled,failed,unsettled,prompt_tokens,completion_tokens,cache_read_tokens,cache_write_tokens,reasoning_tokens,amount,list_amount
2026-11-22,'=cmd(),5f0c9a8b7e6d5c4b3a29180706f5e4d3,USD,1,1,0,0,0,1000,50,400,0,7,0,0
2026-11-22,novita,,USD,1,1,0,0,0,1000,50,400,0,7,0.00057225,0.00057225
2026-11-22,novita,5f0c9a8b7e6d5c4b3a29180706f5e4d3,EUR,1,0,1,0,0,1000,50,400,0,7,0.00057225,0.00057225
2026-11-22,novita,5f0c9a8b7e6d5c4b3a29180706f5e4d3,USD,2,2,0,0,0,2000,100,800,0,14,0.0011445,0.0011445
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	for _, bad := range [][]string{{"hour"}, {"day", "day"}} {
		if _, err := NewTotals(bad); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

// What a caller or a provider could put into an event is text in a spreadsheet, and one
// cell of it.
func TestHostileCells(t *testing.T) {
	for _, text := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "a,b", `a"b`, "a\nb", "=HYPERLINK(\"x\")\n,", "\uff1d1"} {
		total, err := NewTotals([]string{"model", "day"})
		if err != nil {
			t.Fatal(err)
		}
		e, err := Parse([]byte(whole))
		if err != nil {
			t.Fatal(err)
		}
		e.Data.Model = &text
		e.Data.Currency = text
		var b bytes.Buffer
		if err := errors.Join(total.Add(e), total.WriteCSV(&b)); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(rows) != 2 || len(rows[1]) != len(rows[0]) || rows[1][1] != "2026-11-22" {
			t.Fatalf("%q: %v, %q", text, err, rows)
		}
		for _, cell := range []string{rows[1][0], rows[1][2]} {
			if strings.TrimLeft(cell, "'") != strings.ReplaceAll(text, "\r\n", "\n") {
				t.Errorf("%q became %q", text, cell)
			}
			if strings.ContainsAny(strings.TrimLeft(cell, " \n")[:1], "=+-@\t\r\uff1d\uff0b\uff0d\uff20") {
				t.Errorf("%q is a formula: %q", text, cell)
			}
		}
	}
}

func TestStory(t *testing.T) {
	e, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := WriteStory(&b, e); err != nil {
		t.Fatal(err)
	}
	const want = `request 0b9c1f2e
  2026-11-22T10:00:00.123456Z to 2026-11-22T10:00:01.621456Z, chat, streamed, admitted by shunt/a for 5f0c9a8b7e6d5c4b3a29180706f5e4d3
  asked for kimi-k2.6; last asked: novita for moonshotai/kimi-k2.6 (its name: moonshotai/Kimi-K2.6)
  completed

price: the client selected providers, so the price of the one that served holds, with markup
  it has 2 tiers; 1000 prompt tokens fall into the one above 0
      prompt 600  × 0.6 per million
  cache read 400 × 0.15 per million
  completion  50  × 2.5 per million
  + 0.05 of that (markup)
  usage is reported; the sum is 0.00057225
  amount 0.00057225 USD

chain: who was to be tried, in this order, and what became of it
  1  acme    kimi-k2-6             0.55 in, 2.4 out, markup 0.05  status 503 after 31 ms
  2  novita  moonshotai/Kimi-K2.6  0.6 in, 2.5 out, markup 0.05   ok 200 after 1460 ms

left out:
  cheap  in ignore
  and 2 more that the event has no room for

configuration 6b1ae52c
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"type":"shunt.usage.v1","data":{"usage":{},"price":{},"decision":{"tiers":[{}],"chain":[{}]}}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := Parse(line)
		if err != nil {
			return
		}
		Check(e)
		total, err := NewTotals(Groups)
		if err != nil {
			t.Fatal(err)
		}
		_ = total.Add(e)
		var b bytes.Buffer
		if err := WriteStory(&b, e); err != nil {
			t.Fatal(err)
		}
	})
}
