package billing

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing/audit"
	"github.com/shunt-gateway/shunt/policy"
)

// The files testdata/BILL-*.txt are the rules' conformance cases:
//
//	# the rule's sentence
//	quote kind=explicit offers=novita,acme
//	record status=200 attempts=2 usage=1000/50 …
//	----
//	what the event says
//
// Cases stand apart by an empty line. `go test -rewrite` writes the last part anew.
func TestConformance(t *testing.T) {
	paths, err := filepath.Glob("testdata/BILL-*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		cases := strings.Split(strings.TrimSpace(string(raw)), "\n\n")
		for i, text := range cases {
			input, want, found := strings.Cut(text, "\n----\n")
			if !found && !*rewrite {
				t.Fatalf("%s: case %d has no ----", path, i+1)
			}
			input = strings.TrimSuffix(input, "\n----")
			rule := strings.TrimSuffix(filepath.Base(path), ".txt")
			t.Run(fmt.Sprintf("%s/%d", rule, i+1), func(t *testing.T) {
				got := run(t, input)
				cases[i] = input + "\n----\n" + got
				if !*rewrite && got != want {
					t.Errorf("%s\ngot:\n%s\nwant:\n%s", input, got, want)
				}
			})
		}
		if *rewrite {
			if err := os.WriteFile(path, []byte(strings.Join(cases, "\n\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// run interprets one case.
func run(t *testing.T, input string) string {
	t.Helper()
	var q *Quote
	var out []string
	for _, line := range strings.Split(input, "\n") {
		verb, rest, _ := strings.Cut(line, " ")
		args := arguments(rest)
		switch verb {
		case "#":
		case "quote":
			q = quoteFrom(t, args)
		case "record":
			r := recordFrom(t, args)
			e := Settle(q, &r)
			out = append(out, show(t, &e, args["show"]))
		case "unknown":
			e := SettleUnknown(q, nil, admitted.Add(time.Hour))
			out = append(out, show(t, &e, args["show"]))
		default:
			t.Fatalf("unknown verb in %q", line)
		}
	}
	return strings.Join(out, "\n")
}

func arguments(text string) map[string]string {
	args := map[string]string{}
	for _, f := range strings.Fields(text) {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			value = "true"
		}
		args[key] = value
	}
	return args
}

func quoteFrom(t *testing.T, args map[string]string) *Quote {
	t.Helper()
	c, offers := testCatalog()
	f := facts(c)
	kinds := map[string]policy.Kind{
		"": policy.KindDefault, "default": policy.KindDefault, "explicit": policy.KindExplicit,
		"suffix": policy.KindSuffix, "preference": policy.KindPreference, "caching": policy.KindCaching,
	}
	f.Stream = args["stream"] != ""
	f.Subscriber = args["subscriber"] != ""
	if args["anonymous"] != "" {
		f.Subject = ""
	}
	if s := args["bytes"]; s != "" {
		f.RequestBytes = int64(number(t, s))
	}
	if s := args["markup"]; s != "" {
		c.Billing.Markup = dec(s)
	}
	var chain []*catalog.Offer
	for _, name := range strings.Split(args["offers"], ",") {
		if offers[name] == nil {
			t.Fatalf("no offer %q", name)
		}
		chain = append(chain, offers[name])
	}
	d := decide(kinds[args["kind"]], chain...)
	d.Paygo = args["paygo"] != ""
	if s := args["tiers"]; s != "" { // above:prompt:completion,… on every price
		for _, o := range offers {
			for _, p := range []**catalog.Price{&o.Price, &o.Model.Price} {
				if *p != nil {
					with := **p
					with.Tiers = tiersFrom(t, s)
					*p = &with
				}
			}
		}
	}
	for _, f := range strings.Split(args["markups"], ",") { // offer:markup or model-of/offer:markup
		name, m, ok := strings.Cut(f, ":")
		if !ok {
			continue
		}
		if of, isModel := strings.CutPrefix(name, "model-of/"); isModel {
			offers[of].Model.Markup = null(m)
		} else {
			offers[name].Provider.Markup = null(m)
		}
	}
	for _, f := range strings.Split(args["left"], ",") { // offer:reason
		if name, reason, ok := strings.Cut(f, ":"); ok {
			d.Left = append(d.Left, policy.LeftOut{Offer: offers[name], Reason: policy.Reason(number(t, reason))})
		}
	}
	q := travelled(t, NewQuote(d, f))
	if args["reload"] != "" { // what the catalog says now is another matter (BILL-5)
		for _, o := range offers {
			o.Price, o.Model.Price = price("99", "99", "", "", "99"), price("99", "99", "", "", "99")
		}
	}
	return q
}

func tiersFrom(t *testing.T, s string) (list []catalog.Tier) {
	t.Helper()
	for _, one := range strings.Split(s, ",") {
		p := strings.Split(one, ":")
		list = append(list, catalog.Tier{Above: int64(number(t, p[0])), Prompt: dec(p[1]), Completion: dec(p[2])})
	}
	return list
}

// recordFrom reads, beside plain figures, try=provider:outcome:status:ms,… for the
// reported attempts and last=outcome.
func recordFrom(t *testing.T, args map[string]string) Record {
	t.Helper()
	r := Record{
		Start: admitted.Add(-2 * time.Millisecond), Duration: 1500 * time.Millisecond, TTFT: 300 * time.Millisecond,
		Provider: args["provider"], StreamError: args["stream_error"] != "", NoFinish: args["no_finish"] != "", Last: Attempt{Outcome: Outcome(args["last"])},
	}
	for key, into := range map[string]*int{"status": &r.Status, "attempts": &r.AttemptCount} {
		if args[key] != "" {
			*into = number(t, args[key])
		}
	}
	if args["sent"] != "" {
		r.AnswerBytes = int64(number(t, args["sent"]))
	}
	r.End = map[string]End{"": EndClean, "gone": EndClientGone, "cut": EndCut}[args["end"]]
	if r.End == EndClean && r.Status == 200 && args["last"] == "" {
		r.Last = Attempt{Outcome: OutcomeOK, Status: 200}
	}
	for key, into := range map[string]*Int{
		"prompt": &r.Usage.Prompt, "completion": &r.Usage.Completion, "read": &r.Usage.CacheRead,
		"write": &r.Usage.CacheWrite, "reasoning": &r.Usage.Reasoning,
	} {
		if args[key] != "" {
			*into = Known(int64(number(t, args[key])))
		}
	}
	if args["try"] != "" {
		for i, text := range strings.Split(args["try"], ",") {
			p := strings.Split(text, ":")
			r.Attempts = append(r.Attempts, Attempt{
				Provider: p[0], Outcome: Outcome(p[1]), Status: number(t, p[2]),
				Start: admitted.Add(time.Duration(i) * time.Second), Duration: time.Duration(number(t, p[3])) * time.Millisecond,
			})
		}
	}
	return r
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// show is the whole event, or what its money is made of.
func show(t *testing.T, e *Event, how string) string {
	t.Helper()
	m, err := e.Message()
	if err != nil {
		t.Fatal(err)
	}
	if how == "event" {
		var indented strings.Builder
		enc := json.NewEncoder(&indented)
		enc.SetIndent("", "  ")
		if err := enc.Encode(json.RawMessage(m.Body)); err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(indented.String())
	}
	compact := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	d := &e.Data
	lines := []string{
		fmt.Sprintf("%s %s by %s as %s", d.Status, compact(d.Model), compact(d.Provider), compact(d.UpstreamModel)),
		"usage " + compact(d.Usage),
		"price " + compact(d.Price),
		fmt.Sprintf("amount %s list %s %s", compact(d.Amount), compact(d.ListAmount), d.Mode),
	}
	if d.Note != "" {
		lines = append(lines, "note "+string(d.Note))
	}
	if how == "decision" {
		lines = append(lines[:1], compact(d.Decision))
	}
	if how == "attempts" {
		lines = lines[:1]
		for _, a := range d.Attempts {
			lines = append(lines, compact(a))
		}
	}
	return strings.Join(lines, "\n")
}

// What holds for every event, whatever was reported.
func TestSettleInvariants(t *testing.T) {
	genRecord := rapid.Custom(func(t *rapid.T) Record {
		genInt := rapid.Custom(func(t *rapid.T) Int {
			return Int{N: rapid.Int64Range(-2, 3000).Draw(t, "n"), Known: rapid.Bool().Draw(t, "known")}
		})
		r := Record{
			Start:        rapid.SampledFrom([]time.Time{{}, admitted, admitted.Add(-time.Hour)}).Draw(t, "start"),
			Duration:     time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "duration")),
			Status:       rapid.SampledFrom([]int{0, 200, 204, 301, 400, 429, 502, 503}).Draw(t, "status"),
			AnswerBytes:  rapid.Int64Range(0, 1e6).Draw(t, "bytes"),
			AttemptCount: rapid.IntRange(0, 8).Draw(t, "count"),
			Provider:     rapid.SampledFrom([]string{"", "a", "b", "c", "other"}).Draw(t, "provider"),
			End:          End(rapid.Uint8Range(0, 2).Draw(t, "end")), StreamError: rapid.Bool().Draw(t, "error"), NoFinish: rapid.Bool().Draw(t, "unfinished"),
			Usage: Usage{genInt.Draw(t, "p"), genInt.Draw(t, "c"), genInt.Draw(t, "r"), genInt.Draw(t, "w"), genInt.Draw(t, "re")},
		}
		for range rapid.IntRange(0, 8).Draw(t, "reported") {
			r.Attempts = append(r.Attempts, Attempt{Provider: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "tried"), Outcome: OutcomeStatus})
		}
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		q, r := genQuote.Draw(t, "quote"), genRecord.Draw(t, "record")
		q.Source = "shunt/" + q.Source
		e := Settle(&q, &r)
		d := &e.Data
		m, err := e.Message()
		if err != nil || strings.Contains(string(m.Body), "\n") {
			t.Fatalf("%v: %s", err, m.Body)
		}
		sameAsTags(t, &e, m.Body)
		switch {
		case d.Amount.IsNegative() || d.Amount.Exponent() < -moneyPlaces:
			t.Fatalf("amount %s", d.Amount)
		case d.Status == Failed && !r.brokenOff() && !d.Amount.IsZero():
			t.Fatalf("failed, and yet %s", d.Amount)
		case d.Usage.Source == None && !d.Amount.IsZero():
			t.Fatalf("no usage, and yet %s", d.Amount)
		case d.Mode == Subscription && !d.Amount.IsZero():
			t.Fatalf("included, and yet %s", d.Amount)
		case d.Mode == Paygo && d.ListAmount.Valid && !d.ListAmount.Decimal.Equal(d.Amount):
			t.Fatalf("amount %s, list %s", d.Amount, d.ListAmount.Decimal)
		case !d.ListAmount.Valid && (d.Price != nil || !d.Amount.IsZero()):
			t.Fatalf("no list amount at a known price: %s", m.Body)
		case d.EndedAt.Before(d.StartedAt) || !e.Time.Equal(d.EndedAt):
			t.Fatalf("from %s to %s", d.StartedAt, d.EndedAt)
		case len(d.Attempts) != max(r.AttemptCount, len(r.Attempts)):
			t.Fatalf("%d attempts of %d counted, %d reported", len(d.Attempts), r.AttemptCount, len(r.Attempts))
		case (d.Usage.Source == None) == d.Usage.PromptTokens.Known:
			t.Fatalf("usage %+v", d.Usage)
		}
		if size := decisionSize(t, d); size > maxDecision {
			t.Fatalf("chain and left_out have %d bytes: %s", size, m.Body)
		}
		// An invoice line can be recomputed from the event alone.
		charged := d.Usage.Source != None && d.Price != nil && d.Note != ErrorAnswer && d.Note != EmptyAnswer && (d.Status != Failed || d.Note == BrokenOff)
		if charged {
			p := &catalog.Price{Prompt: d.Price.Prompt, Completion: d.Price.Completion, CacheRead: d.Price.CacheRead, CacheWrite: d.Price.CacheWrite, Request: d.Price.Request}
			u := Usage{d.Usage.PromptTokens, d.Usage.CompletionTokens, d.Usage.CacheReadTokens, d.Usage.CacheWriteTokens, d.Usage.ReasoningTokens}
			if want := ratAmount(p, d.Price.Markup, Usage{u.Prompt, u.Completion, zero(u.CacheRead), zero(u.CacheWrite), zero(u.Reasoning)}); d.ListAmount.Decimal.Rat().Cmp(want) != 0 {
				t.Fatalf("list amount %s, recomputed %s", d.ListAmount.Decimal, want.FloatString(12))
			}
		} else if !d.Amount.IsZero() {
			t.Fatalf("charged %s: %s", d.Amount, m.Body)
		}
		// A reader that knows the documentation alone comes to the same.
		seen, err := audit.Parse(m.Body)
		if err != nil {
			t.Fatalf("%v: %s", err, m.Body)
		}
		if problems := audit.Check(seen); problems != nil {
			t.Fatalf("%q: %s", problems, m.Body)
		}
		again := Settle(&q, &r)
		if m2, err := again.Message(); err != nil || string(m2.Body) != string(m.Body) {
			t.Fatalf("the same arguments give another event: %s", m2.Body)
		}
	})
}

// decisionSize is what chain and left_out have in an event's JSON.
func decisionSize(t *rapid.T, d *Data) int {
	n := 0
	for _, v := range []any{d.Decision.Chain, d.Decision.LeftOut} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		n += len(b) - len("[]")
	}
	return n
}

func zero(i Int) Int { return Known(i.N) }

// BILL-6: exactly these members, in this order. The rule's sentence is the
// list; see testdata/BILL-6.txt for whole events.
func TestEventMembers(t *testing.T) {
	c, offers := testCatalog()
	d := decide(policy.KindExplicit, offers["novita"])
	d.Left = []policy.LeftOut{{Offer: offers["acme"], Reason: policy.Ignored}}
	q := NewQuote(d, facts(c))
	e := Settle(&q, &Record{Status: 200, AttemptCount: 1, Usage: usage(1, 1, 1, 0, 0)})
	m, err := e.Message()
	if err != nil {
		t.Fatal(err)
	}
	const want = "specversion type id source subject time datacontenttype data " +
		"started_at ended_at api stream requested_model model provider upstream_model status " +
		"decision kind catalog tiers chain provider upstream_model price prompt completion cache_read cache_write request markup chain_cut " +
		"left_out provider reason left_out_cut attempts provider upstream_model outcome status duration_ms " +
		"usage source prompt_tokens completion_tokens cache_read_tokens cache_write_tokens reasoning_tokens " +
		"price prompt completion cache_read cache_write request markup amount list_amount currency billing_mode note"
	if got := strings.Join(memberNames(m.Body), " "); got != want {
		t.Errorf("BILL-6\ngot  %s\nwant %s", got, want)
	}
}

func memberNames(body []byte) (names []string) {
	dec := json.NewDecoder(strings.NewReader(string(body)))
	type level struct{ object, key bool }
	var stack []level
	for {
		tok, err := dec.Token()
		if err != nil {
			return names
		}
		top := func() *level { return &stack[len(stack)-1] }
		if d, ok := tok.(json.Delim); ok {
			switch d {
			case '{', '[':
				stack = append(stack, level{object: d == '{', key: d == '{'})
				continue
			default:
				stack = stack[:len(stack)-1]
			}
		} else if len(stack) > 0 && top().object && top().key {
			names = append(names, tok.(string))
			top().key = false
			continue
		}
		if len(stack) > 0 && top().object {
			top().key = true
		}
	}
}

func BenchmarkSettle(b *testing.B) {
	d, f := chainOf(6)
	q := NewQuote(d, f)
	r := Record{Status: 200, AttemptCount: 2, Provider: "novita", Usage: usage(1000, 50, 400, 0, 7)}
	b.ReportAllocs()
	for b.Loop() {
		e := Settle(&q, &r)
		if _, err := e.Message(); err != nil {
			b.Fatal(err)
		}
	}
}
