package billing

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

func TestQuoteJSON(t *testing.T) {
	c, offers := testCatalog()
	f := facts(c)
	f.Stream, f.Subscriber = true, true
	q := NewQuote(decide(policy.KindDefault, offers["novita"], offers["cheap"], offers["acme-glm"]), f)
	const want = `{"v":1,"id":"0b9c1f2e-6f0a-4a53-9d1b-0d2a6f1c7e11","src":"shunt/a","t":1795341600123456,"api":"chat","s":1,` +
		`"rm":"kimi-k2.6","m":"moonshotai/kimi-k2.6","k":"default",` +
		`"h":"6b1ae52c9f3d4e0f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f","b":"subscription",` +
		`"sub":"5f0c9a8b7e6d5c4b3a29180706f5e4d3","plan":1,"mk":"0.05","cur":"USD","dp":["0.5","2.6",null,null,"0"],"rb":4096,"a":[` +
		`{"p":"novita","u":"moonshotai/Kimi-K2.6","c":["0.6","2.5","0.15","0.75","0"]},{"p":"cheap","u":"kimi"},` +
		`{"p":"acme","u":"glm-5","c":["0.25","1","0",null,"0"],"m":"zai/glm-5","dp":["0.3","1.1",null,null,"0.0001"]}]}`
	if got := string(q.AppendJSON(nil)); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	if got := string(q.AppendJSON([]byte("x"))); got != "x"+want {
		t.Fatal("AppendJSON does not append")
	}
	back := travelled(t, q)
	if got := string(back.AppendJSON(nil)); got != want {
		t.Fatalf("after parsing: %s", got)
	}
	if !back.StartedAt.Equal(admitted) || back.Mode != Subscription || len(back.Offers) != 3 {
		t.Fatalf("after parsing: %+v", back)
	}
}

// BILL-3: what a subscription covers.
func TestQuoteMode(t *testing.T) {
	c, offers := testCatalog()
	for _, kind := range []policy.Kind{policy.KindDefault, policy.KindExplicit, policy.KindSuffix, policy.KindPreference, policy.KindCaching} {
		for _, subscriber := range []bool{false, true} {
			for _, paygo := range []bool{false, true} {
				f := facts(c)
				f.Subscriber = subscriber
				d := decide(kind, offers["novita"])
				d.Paygo = paygo
				want := Paygo
				if subscriber && !paygo && (kind == policy.KindDefault || kind == policy.KindCaching) {
					want = Subscription
				}
				if q := NewQuote(d, f); q.Mode != want {
					t.Errorf("BILL-3 %s, subscriber %t, paygo %t: %s, want %s", kind, subscriber, paygo, q.Mode, want)
				}
			}
		}
	}
}

func TestQuoteBoundsWhatClientsWrite(t *testing.T) {
	c, offers := testCatalog()
	for _, model := range []string{
		strings.Repeat("x", 10_000), strings.Repeat("é", 300), "x" + strings.Repeat("é", 300),
		strings.Repeat("\xff", 300), "a\xffb", "\x00\"\\\n\u2028", "",
	} {
		f := facts(c)
		f.RequestedModel = model
		q := travelled(t, NewQuote(decide(policy.KindDefault, offers["novita"]), f))
		if len(q.RequestedModel) > MaxRequestedModel || !utf8.ValidString(q.RequestedModel) {
			t.Errorf("%.20q became %q", model, q.RequestedModel)
		}
		if len(model) <= MaxRequestedModel && utf8.ValidString(model) && q.RequestedModel != model {
			t.Errorf("%q became %q", model, q.RequestedModel)
		}
	}
}

func TestParseQuoteIsStrict(t *testing.T) {
	c, offers := testCatalog()
	q := NewQuote(decide(policy.KindExplicit, offers["novita"]), facts(c))
	good := string(q.AppendJSON(nil))
	edit := func(from, to string) string {
		if !strings.Contains(good, from) {
			t.Fatalf("%s is not in %s", from, good)
		}
		return strings.Replace(good, from, to, 1)
	}
	for name, bad := range map[string]string{
		"empty":                      "",
		"not JSON":                   "quote",
		"null":                       "null",
		"an array":                   "[]",
		"cut off":                    good[:len(good)-1],
		"followed by more":           good + "{}",
		"a space":                    edit(`"v":1,`, `"v":1, `),
		"another version":            edit(`"v":1`, `"v":2`),
		"an unknown field":           edit(`"v":1`, `"v":1,"x":1`),
		"a field twice":              edit(`"v":1`, `"v":1,"v":1`),
		"another case":               edit(`"v":1`, `"V":1`),
		"no id":                      edit(q.ID, ""),
		"an endless id":              edit(q.ID, strings.Repeat("x", maxID+1)),
		"an unknown api":             edit(`"chat"`, `"embeddings"`),
		"an unknown kind":            edit(`"explicit"`, `"implicit"`),
		"an unknown mode":            edit(`"paygo"`, `"free"`),
		"a pin that is included":     edit(`"b":"paygo"`, `"b":"subscription"`),
		"a price with an exponent":   edit(`"0.6"`, `"1e999999999"`),
		"a negative price":           edit(`"0.6"`, `"-0.6"`),
		"a number where text is due": edit(`"0.6"`, `0.6`),
		"a price with zeros":         edit(`"0.6"`, `"0.60"`),
		"a price without a point":    edit(`"0.6"`, `".6"`),
		"a price with two":           edit(`"0.6"`, `"0.6."`),
		"an endless price":           edit(`"0.6"`, `"0.`+strings.Repeat("6", maxDecimal)+`"`),
		"no prompt price":            edit(`"0.6"`, `null`),
		"a short price":              edit(`,"0.75","0"]`, `,"0.75"]`),
		"negative bytes":             edit(`"rb":4096`, `"rb":-1`),
		"too many bytes":             edit(`"rb":4096`, `"rb":9999999999999999`),
		"no attempts list":           edit(`"a":[`, `"b":[`),
		"the year 200000":            edit(`"t":1795341600123456`, `"t":6249223896000000000`),
		"before Envoy":               edit(`"t":1795341600123456`, `"t":-1795341600123456`),
		"an endless text":            edit(`"kimi-k2.6"`, `"`+strings.Repeat("x", maxQuote)+`"`),
		"an endless model":           edit(`"kimi-k2.6"`, `"`+strings.Repeat("x", MaxRequestedModel+1)+`"`),
		"an endless tier list":       edit(`"0.75","0"]`, `"0.75","0"`+strings.Repeat(`,[1,"1","1",null,null]`, maxTiers+1)+`]`),
		"a short tier":               edit(`"0.75","0"]`, `"0.75","0",[1,"1","1",null]]`),
		"nobody left out":            edit(`}]}`, `}],"lo":[]}`),
		"left out without a name":    edit(`}]}`, `}],"lo":[["disabled",""]]}`),
		"a run in two":               edit(`}]}`, `}],"lo":[["disabled","","a"],["disabled","","b"]]}`),
		"too many left out":          edit(`}]}`, `}],"lo":[["disabled",""`+strings.Repeat(`,"a"`, maxLeftOffers+1)+`]]}`),
		"a negative cut":             edit(`}]}`, `}],"lc":-1}`),
		"a cut of none":              edit(`}]}`, `}],"lc":0}`),
		"an endless chain":           edit(`"a":[`, `"a":[`+strings.Repeat(`{"p":"x"},`, maxOffers)),
		"not UTF-8":                  edit(`kimi-k2.6`, "\xff"),
		"escapes that need none":     edit(`kimi-k2.6`, `\u006bimi`),
	} {
		if _, err := ParseQuote(bad); !errors.Is(err, ErrQuote) {
			t.Errorf("%s: error %v", name, err)
		} else if len(err.Error()) > 300 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
}

var genQuote = rapid.Custom(func(t *rapid.T) Quote {
	maybe := func(name string) *catalog.Price {
		return rapid.OneOf(rapid.Just[*catalog.Price](nil), genPrice).Draw(t, name)
	}
	q := Quote{
		ID: rapid.StringMatching(`[0-9a-f-]{1,36}`).Draw(t, "id"), Source: rapid.String().Draw(t, "source"),
		StartedAt: time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "at")).UTC(),
		API:       rapid.SampledFrom([]catalog.API{catalog.Chat, catalog.Completions, catalog.Responses}).Draw(t, "api"),
		Stream:    rapid.Bool().Draw(t, "stream"), RequestedModel: bounded(rapid.String().Draw(t, "asked")),
		Model: rapid.String().Draw(t, "model"), Kind: policy.Kind(rapid.Uint8Range(0, 4).Draw(t, "kind")),
		Catalog: rapid.String().Draw(t, "catalog"), Mode: Paygo, Subject: rapid.String().Draw(t, "subject"),
		Subscriber: rapid.Bool().Draw(t, "subscriber"), Markup: genNumber.Draw(t, "markup"),
		Currency: "USD", Default: maybe("default"), RequestBytes: rapid.Int64Range(0, maxBytes).Draw(t, "bytes"),
		Offers: []Offer{},
	}
	if q.Subscriber && included(q.Kind) && rapid.Bool().Draw(t, "covered") {
		q.Mode = Subscription
	}
	for range rapid.IntRange(0, 6).Draw(t, "attempts") {
		q.Offers = append(q.Offers, Offer{
			Provider: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "provider"), Upstream: rapid.String().Draw(t, "upstream"),
			Price: maybe("price"), Model: rapid.SampledFrom([]string{"", "other"}).Draw(t, "other"), Default: maybe("otherDefault"),
			Markup: genNull.Draw(t, "own markup"),
		})
	}
	for range rapid.IntRange(0, 20).Draw(t, "left out") {
		q.Left = append(q.Left, LeftOut{
			Provider: rapid.StringMatching(`[a-z]{1,20}`).Draw(t, "left"), Model: rapid.SampledFrom([]string{"", "other", "<&>"}).Draw(t, "of"),
			Reason: rapid.SampledFrom([]string{"disabled", "not in order"}).Draw(t, "reason"),
		})
	}
	q.LeftCut = rapid.IntRange(0, 3).Draw(t, "cut")
	return q
})

// Every quote comes back as it went, and its JSON is JSON.
func TestQuoteRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := genQuote.Draw(t, "quote")
		text := q.AppendJSON(nil)
		if !json.Valid(text) {
			t.Fatalf("not JSON: %s", text)
		}
		back, err := ParseQuote(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprintf("%+v", normal(*back)), fmt.Sprintf("%+v", normal(q)); got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}

// normal replaces the pointers of a quote by what they point to.
func normal(q Quote) any {
	show := func(p *catalog.Price) any {
		if p == nil {
			return nil
		}
		list := []any{p.Prompt.String(), p.Completion.String(), nullText(p.CacheRead), nullText(p.CacheWrite), p.Request.String()}
		for _, t := range p.Tiers {
			list = append(list, t.Above, t.Prompt.String(), t.Completion.String(), nullText(t.CacheRead), nullText(t.CacheWrite))
		}
		return list
	}
	var offers []any
	for _, o := range q.Offers {
		offers = append(offers, o.Provider, o.Upstream, show(o.Price), o.Model, show(o.Default), nullText(o.Markup))
	}
	rest := q
	rest.Default, rest.Offers, rest.Markup = nil, nil, decimal.Decimal{}
	return []any{rest, q.Markup.String(), show(q.Default), offers}
}

func nullText(d decimal.NullDecimal) any {
	if !d.Valid {
		return nil
	}
	return d.Decimal.String()
}

// The decimals are spelt as the library spells them, without its allocations.
func TestAppendDecimal(t *testing.T) {
	for _, s := range []string{"0", "1", "10", "0.1", "0.05", "100.001", "0.000000000000000001", "-1.5", "-0.01", "123456789012.123456789012345678"} {
		if got := string(appendDecimal(nil, dec(s))); got != `"`+s+`"` {
			t.Errorf("%s: %s", s, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := decimal.New(rapid.Int64().Draw(t, "n"), rapid.Int32Range(-25, 25).Draw(t, "exp"))
		if got, want := string(appendDecimal(nil, d)), `"`+d.String()+`"`; got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}

func TestAppendString(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s"))
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil {
			t.Fatal(err)
		}
		if want := strings.ToValidUTF8(perByte(s), "\uFFFD"); back != want {
			t.Fatalf("%q, want %q", back, want)
		}
	})
}

// perByte gives every invalid byte a replacement of its own, as JSON writers do.
func perByte(s string) string { return string([]rune(s)) }

// What is said of offers that are left out is bounded, and counts the rest.
func TestQuoteLeftOut(t *testing.T) {
	c, offers := testCatalog()
	model := offers["novita"].Model
	for _, n := range []int{0, 1, 30, 48, 200, 5000} {
		d := decide(policy.KindExplicit, offers["novita"])
		for i := range n {
			o := &catalog.Offer{Model: model, Provider: &catalog.Provider{Slug: fmt.Sprintf("provider-%d", i)}}
			d.Left = append(d.Left, policy.LeftOut{Offer: o, Reason: policy.NotPinned})
		}
		q := travelled(t, NewQuote(d, facts(c)))
		if got := len(q.Left) + q.LeftCut; got != n {
			t.Errorf("%d left out: %d named, %d cut", n, len(q.Left), q.LeftCut)
		}
		bare := NewQuote(decide(policy.KindExplicit, offers["novita"]), facts(c))
		if more := len(q.AppendJSON(nil)) - len(bare.AppendJSON(nil)); more > maxLeft+32 {
			t.Errorf("%d left out: %d bytes more", n, more)
		}
		if n <= 30 && q.LeftCut > 0 {
			t.Errorf("%d left out, and %d cut", n, q.LeftCut)
		}
	}
}

func chainOf(n int) (*policy.Decision, *Facts) {
	c, offers := testCatalog()
	list := make([]*catalog.Offer, n)
	for i := range list {
		list[i] = offers["novita"]
	}
	return decide(policy.KindDefault, list...), facts(c)
}

// The hot path's ceiling: one slice of offers, and nothing to write them.
func TestQuoteAllocations(t *testing.T) {
	d, f := chainOf(6)
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		q := NewQuote(d, f)
		buf = q.AppendJSON(buf[:0])
	}); n > 1 {
		t.Errorf("%v allocations, want at most 1", n)
	}
	_, offers := testCatalog()
	d.Left = []policy.LeftOut{{Offer: offers["acme"], Reason: policy.NotInOrder}, {Offer: offers["cheap"], Reason: policy.Disabled}}
	if n := testing.AllocsPerRun(100, func() {
		q := NewQuote(d, f)
		buf = q.AppendJSON(buf[:0])
	}); n > 2 {
		t.Errorf("%v allocations with offers left out, want at most 2", n)
	}
}

// go test ./extproc/billing -run '^$' -bench Quote -benchmem
func BenchmarkQuoteLeftOut(b *testing.B) {
	for _, n := range []int{0, 5, 20, 1000} {
		b.Run(fmt.Sprintf("left=%d", n), func(b *testing.B) {
			d, f := chainOf(1)
			for i := range n {
				o := &catalog.Offer{Model: d.Model, Provider: &catalog.Provider{Slug: fmt.Sprintf("provider-%d", i)}}
				d.Left = append(d.Left, policy.LeftOut{Offer: o, Reason: policy.NotPinned})
			}
			buf := make([]byte, 0, 8192)
			b.ReportAllocs()
			for b.Loop() {
				q := NewQuote(d, f)
				buf = q.AppendJSON(buf[:0])
			}
			b.ReportMetric(float64(len(buf)), "bytes/quote")
		})
	}
}

func BenchmarkQuote(b *testing.B) {
	for _, n := range []int{1, 6, 16} {
		b.Run(fmt.Sprintf("attempts=%d", n), func(b *testing.B) {
			d, f := chainOf(n)
			buf := make([]byte, 0, 8192)
			b.ReportAllocs()
			for b.Loop() {
				q := NewQuote(d, f)
				buf = q.AppendJSON(buf[:0])
			}
			b.ReportMetric(float64(len(buf)), "bytes/quote")
		})
	}
}

func BenchmarkParseQuote(b *testing.B) {
	d, f := chainOf(6)
	q := NewQuote(d, f)
	text := string(q.AppendJSON(nil))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseQuote(text); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzParseQuote(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		d, facts := chainOf(max(n, 1))
		q := NewQuote(d, facts)
		q.Offers = q.Offers[:n]
		f.Add(string(q.AppendJSON(nil)))
	}
	f.Add(`{"v":1,"t":0,"mk":"1e999999999","a":[{}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := ParseQuote(text)
		if err != nil {
			if q != nil || !errors.Is(err, ErrQuote) {
				t.Fatalf("%v, %v", q, err)
			}
			return
		}
		if got := string(q.AppendJSON(nil)); got != text {
			t.Fatalf("got %s of %s", got, text)
		}
		for _, r := range []Record{
			{}, {Status: 200, AttemptCount: 1 << 15, Usage: usage(10, 10, 5, 5, 5)},
			{Status: 200, AttemptCount: 1, AnswerBytes: 1 << 62, End: EndClientGone, Start: time.Unix(1<<40, 0), Duration: 1 << 62},
		} {
			e := Settle(q, &r)
			if e.Data.Amount.IsNegative() {
				t.Fatalf("amount %s", e.Data.Amount)
			}
			if _, err := e.Message(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestNullable(t *testing.T) {
	type pair struct {
		I Int  `json:"i"`
		T Text `json:"t"`
	}
	for text, want := range map[string]pair{
		`{"i":null,"t":null}`: {},
		`{"i":0,"t":"x"}`:     {Known(0), "x"},
		`{"i":-7,"t":"\""}`:   {Known(-7), `"`},
	} {
		var got pair
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if b, err := json.Marshal(want); err != nil || string(b) != text {
			t.Errorf("%+v: %s, %v", want, b, err)
		}
	}
	if err := json.Unmarshal([]byte(`"1"`), new(Int)); err == nil {
		t.Error("a string is no Int")
	}
}
