package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/test/loglines"
)

// eventLine is an event of a charge of so many prompt tokens at 1 per million, with
// 10 %.
func eventLine(id string, prompt int, amount string) string {
	return fmt.Sprintf(`{"specversion":"1.0","type":"shunt.usage.v1","id":%q,"source":"shunt/a","subject":"caller","time":"2026-11-22T10:00:01Z","datacontenttype":"application/json",`+
		`"data":{"started_at":"2026-11-22T10:00:00Z","ended_at":"2026-11-22T10:00:01Z","api":"chat","stream":false,"requested_model":"kimi\u001b[2J","model":"kimi","provider":"novita","upstream_model":"m","status":"completed",`+
		`"decision":{"kind":"explicit","catalog":"c","tiers":null,"chain":[{"provider":"novita","upstream_model":"m","price":{"prompt":"1","completion":"2","cache_read":null,"cache_write":null,"request":"0","markup":"0.1"}}],"chain_cut":0,"left_out":[{"provider":"acme","reason":"disabled"}],"left_out_cut":0},`+
		`"attempts":[],"usage":{"source":"reported","prompt_tokens":%d,"completion_tokens":0,"cache_read_tokens":null,"cache_write_tokens":null,"reasoning_tokens":null},`+
		`"price":{"prompt":"1","completion":"2","cache_read":null,"cache_write":null,"request":"0","markup":"0.1"},"amount":%q,"list_amount":%[3]q,"currency":"USD","billing_mode":"paygo","note":null}}`+"\n", id, prompt, amount)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// shunt runs the command line.
func shunt(t *testing.T, stdin string, args ...string) (out, errOut string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &o, &e)
	return o.String(), e.String(), code
}

func TestBillingVerify(t *testing.T) {
	good, bad := filepath.Join(t.TempDir(), "good.jsonl"), filepath.Join(t.TempDir(), "bad.jsonl")
	writeFile(t, good, eventLine("a", 1000, "0.0011")+eventLine("b", 10, "0.000011")+eventLine("a", 1000, "0.0011"))
	writeFile(t, bad, eventLine("c", 1000, "0.0011")+eventLine("d", 999, "0.0011")+"{torn\n")
	out, _, code := shunt(t, "", "billing", "verify", good)
	if code != 0 || out != "3 events, 1 of them delivered again: every amount follows from its event\n" {
		t.Errorf("exit %d: %s", code, out)
	}
	out, errOut, code := shunt(t, "", "billing", "verify", good, bad)
	if code != exitInput || !strings.Contains(out, bad+`:2: event "d": list_amount is 0.0011, recomputed 0.0010989`) ||
		!strings.Contains(out, bad+":3: not JSON") || !strings.Contains(errOut, "2 of 6 events do not add up") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	if out, _, code := shunt(t, eventLine("d", 999, "0.0011"), "billing", "verify", "-"); code != exitInput || !strings.Contains(out, "stdin:1") {
		t.Errorf("standard input: exit %d: %s", code, out)
	}
	if _, errOut, code := shunt(t, "", "billing", "verify", good+"x"); code != exitInput || !strings.Contains(errOut, "no such file") {
		t.Errorf("no file: exit %d: %s", code, errOut)
	}
	for _, args := range [][]string{{"billing", "verify"}, {"billing"}, {"billing", "sum"}} {
		if _, errOut, code := shunt(t, "", args...); code != exitUsage {
			t.Errorf("%v: exit %d: %s", args, code, errOut)
		}
	}
}

// With a configuration, prices are compared with it if it is the one that quoted, and
// it is said how many events were quoted by another.
func TestBillingVerifyAgainstTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	config, path := filepath.Join(dir, "shunt.yaml"), filepath.Join(dir, "events.jsonl")
	writeFile(t, config, `providers: {novita: {endpoint: "https://a.example"}}
models: {kimi: {price: {prompt: 3, completion: 4}, offers: [{provider: novita, model: m, price: {prompt: 1, completion: 2}}]}}
billing: {markup: 10%, sinks: []}
`)
	c, err := (&configFlags{path: config}).load()
	if err != nil {
		t.Fatal(err)
	}
	event := func(id string, edits ...string) string {
		t.Helper()
		line := eventLine(id, 1000, "0.0011")
		for i := 0; i < len(edits); i += 2 {
			if !strings.Contains(line, edits[i]) {
				t.Fatalf("%s is not in %s", edits[i], line)
			}
			line = strings.ReplaceAll(line, edits[i], edits[i+1])
		}
		return line
	}
	ours := []string{`"catalog":"c"`, `"catalog":"` + c.Hash + `"`}
	byDefault := slices.Concat(ours, []string{`"explicit"`, `"default"`, `"request":"0","markup":"0.1"},"amount":"0.0011","list_amount":"0.0011"`,
		`"request":"0","markup":"0"},"amount":"0.003","list_amount":"0.003"`, `"price":{"prompt":"1","completion":"2","cache_read":null,"cache_write":null,"request":"0","markup":"0"}`,
		`"price":{"prompt":"3","completion":"4","cache_read":null,"cache_write":null,"request":"0","markup":"0"}`})
	writeFile(t, path, event("a", ours...)+event("b")+event("d", byDefault...))
	out, errOut, code := shunt(t, "", "billing", "verify", "-c", config, path)
	want := "configuration " + c.Hash + ": 2 events were quoted by it, and compared with its prices\n" +
		`1 events were quoted by OTHER configurations; their amounts were recomputed from their own prices, which were NOT compared: ["c"]` + "\n" +
		"3 events, 0 of them delivered again: every amount follows from its event\n"
	if code != 0 || out != want {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	for name, c := range map[string]struct{ line, want string }{
		"a cheaper price":       {event("e", append(ours, `"prompt":"1"`, `"prompt":"0.5"`, `"0.0011"`, `"0.00055"`)...), "no offer of novita for m at the chain's price and markup"},
		"a smaller markup":      {event("e", append(ours, `"markup":"0.1"`, `"markup":"0.05"`, `"0.0011"`, `"0.00105"`)...), "no offer of novita"},
		"a cheaper default":     {event("e", append(byDefault, `"prompt":"3"`, `"prompt":"2"`, `"0.003"`, `"0.002"`)...), "not the configuration's default price of kimi"},
		"another model":         {event("e", append(byDefault, `"model":"kimi"`, `"model":"other"`)...), "not the configuration's default price of other"},
		"another currency":      {event("e", append(ours, `"USD"`, `"JPY"`)...), `currency is "JPY", the configuration's is USD`},
		"an offer from nowhere": {event("e", append(ours, `"novita"`, `"elsewhere"`)...), "no offer of elsewhere"},
		"an exponent":           {event("e", append(ours, `"prompt":"1"`, `"prompt":"1e999999999"`)...), "no offer of novita"},
	} {
		if out, errOut, code := shunt(t, c.line, "billing", "verify", "-c", config, "-"); code != exitInput || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit %d: %s%s", name, code, out, errOut)
		}
	}
}

func TestBillingExport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	writeFile(t, path, eventLine("a", 1000, "0.0011")+eventLine("b", 10, "0.000011")+eventLine("a", 1000, "0.0011"))
	out, errOut, code := shunt(t, "", "billing", "export", "--csv", "--by", "month,model", path)
	want := "month,model,currency,events,completed,cancelled,failed,unsettled,prompt_tokens,completion_tokens,cache_read_tokens,cache_write_tokens,reasoning_tokens,amount,list_amount\n" +
		"2026-11,kimi,USD,2,2,0,0,0,1010,0,0,0,0,0.001111,0.001111\n"
	if code != 0 || out != want {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	writeFile(t, path, eventLine("a", 1000, "0.0011")+"{torn\n")
	if out, errOut, code := shunt(t, "", "billing", "export", path); code != exitInput || out != "" || !strings.Contains(errOut, path+":2") {
		t.Errorf("a torn line: exit %d: %s%s", code, out, errOut)
	}
	if _, errOut, code := shunt(t, "", "billing", "export", "--by", "hour", path); code != exitUsage || !strings.Contains(errOut, `"hour"`) {
		t.Errorf("--by hour: exit %d: %s", code, errOut)
	}
}

func TestBillingExplain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	writeFile(t, path, eventLine("a", 1000, "0.0011")+eventLine("b", 10, "0.000011"))
	out, _, code := shunt(t, "", "billing", "explain", "b", path)
	for _, want := range []string{path + ":2\nrequest b\n", "10 × 1 per million", "+ 0.1 of that (markup)", "amount 0.000011 USD", "acme  disabled", "asked for kimi\uFFFD[2J;"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, no %q in:\n%s", code, want, out)
		}
	}
	if _, errOut, code := shunt(t, "", "billing", "explain", "z", path); code != exitInput || !strings.Contains(errOut, `"z"`) {
		t.Errorf("no such event: exit %d: %s", code, errOut)
	}
}

func TestBillingTail(t *testing.T) {
	dir := t.TempDir()
	path, config := filepath.Join(dir, "events.jsonl"), filepath.Join(dir, "shunt.yaml")
	writeFile(t, config, `providers: {a: {endpoint: "https://a.example"}}
models: {m: {offers: [{provider: a, model: m}]}}
billing: {sinks: [{nats: {url: "nats://127.0.0.1:4222", subject: s}}, {file: {path: events.jsonl}}]}
`)
	ctx, cancel := context.WithCancel(t.Context())
	out := &loglines.Buffer{}
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"billing", "tail", "-c", config, "-n", "1", "--json"}, strings.NewReader(""), out, out)
	}()
	want := ""
	expect := func(line string) {
		t.Helper()
		want += line
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		late := time.NewTimer(time.Minute)
		defer late.Stop()
		for out.String() != want {
			select {
			case <-tick.C:
			case <-late.C:
				t.Fatalf("got %s\nwant %s", out, want)
			}
		}
	}
	appendTo := func(text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c := eventLine("a", 1, "0.0000011"), eventLine("b", 2, "0.0000022"), eventLine("c", 3, "0.0000033")
	appendTo(a) // the file was not there
	expect(a)
	appendTo(b[:20])
	appendTo(b[20:])
	expect(b)
	appendTo(c)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(a)
	expect(c + a)
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}

	appendTo(b)
	text, _, code := shunt(t, "", "billing", "tail", "-c", config, "--once", "-n", "1")
	if code != 0 || text != "2026-11-22 10:00:01 completed kimi by novita: 2 in, 0 out, 0.0000022 USD  b\n" {
		t.Errorf("exit %d: %s", code, text)
	}
	writeFile(t, config, "providers: {a: {endpoint: \"https://a.example\"}}\nmodels: {m: {offers: [{provider: a, model: m}]}}\nbilling: {sinks: []}\n")
	if _, errOut, code := shunt(t, "", "billing", "tail", "-c", config); code != exitInput || !strings.Contains(errOut, "no file to follow") {
		t.Errorf("no file sink: exit %d: %s", code, errOut)
	}
}
