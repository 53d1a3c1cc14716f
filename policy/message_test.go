package policy_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// refusal is what Read answers to a chat request for kimi-k2.6 that change made
// wrong.
func refusal(t *testing.T, change func(in *policy.Input)) *policy.Error {
	t.Helper()
	_, catalogs := suite(t)
	in := &policy.Input{API: catalog.Chat, Path: "/v1/chat/completions", Model: []byte(`"kimi-k2.6"`)}
	change(in)
	_, err := policy.Read(in, catalogs["shop"])
	if err == nil {
		t.Fatal("no error")
	}
	return err
}

func provider(raw string) func(in *policy.Input) {
	return func(in *policy.Input) { in.Provider = []byte(raw) }
}

func TestMessages(t *testing.T) {
	for _, c := range []struct {
		change             func(in *policy.Input)
		code, param, piece string
	}{
		{provider(`{"orders":[]}`), "invalid_provider_object", "provider.orders", `did you mean "order"?`},
		{provider(`{"Only":[]}`), "invalid_provider_object", "provider.Only", `did you mean "only"?`},
		{provider(`{"allow_fallback":true}`), "invalid_provider_object", "provider.allow_fallback", `did you mean "allow_fallbacks"?`},
		{provider(`{"quantizations":[]}`), "invalid_provider_object", "provider.quantizations", "it has order, only, ignore, sort"},
		{provider(`{"max_price":{"promt":1}}`), "invalid_provider_object", "provider.max_price.promt", `did you mean "prompt"?`},
		{provider(`{"a b\n":1}`), "invalid_provider_object", "provider", `"a b\n"`},
		{provider(`{"max_price":{"a b":1}}`), "invalid_provider_object", "provider", `"a b"`},
		{provider(`{"":1}`), "invalid_provider_object", "provider", `""`},
		{provider(`{"order":[],"\u006frder":[]}`), "invalid_json", "provider.order", "duplicate"},
		{provider(`{"max_price":{"prompt":1,"prompt":2}}`), "invalid_json", "provider.max_price.prompt", "duplicate"},
		{provider(`{"preferred_max_latency":{"p50":1,"p50":2}}`), "invalid_json", "provider.preferred_max_latency.p50", "duplicate"},
		{provider(`{"preferred_max_latency":null}`), "invalid_provider_object", "provider.preferred_max_latency", "(seconds), or an object with p50, p75, p90, p99"},
		{provider(`{"preferred_min_throughput":{"p9":2}}`), "invalid_provider_object", "provider.preferred_min_throughput.p9", `did you mean "p90"?`},
		{provider(`{"preferred_min_throughput":-1e-400}`), "invalid_provider_object", "provider.preferred_min_throughput", "tokens per second"},
		{provider(`{"max_latency":2}`), "invalid_provider_object", "provider.max_latency", "it has order"},
		{provider(`{"order":[`), "invalid_json", "provider", "not valid JSON"},
		{provider(`{"order":["` + strings.Repeat("x", 70_000) + `"]}`), "invalid_provider_object", "provider", "64 KiB"},
		{provider(strings.Repeat(`{"order":`, 1_000_000)), "invalid_provider_object", "provider", "64 KiB"},
		{provider(`{"only":["n\u00f6"]}`), "provider_unknown_provider", "provider.only", `"n\u00f6"`},
		{func(in *policy.Input) { in.XProvider = []string{"\xff\x00\n"} }, "provider_unknown_provider", "X-Provider", `"\xff\x00`},
		{func(in *policy.Input) { in.Model = []byte(`"\u0000\n\ud800"`) }, "model_not_found", "model", `\x00\n\ufffd`},
		{func(in *policy.Input) { in.Models = []byte(`["glm-5"`) }, "invalid_parameter", "models", "array"},
		{func(in *policy.Input) { in.Models = []byte("[" + strings.Repeat(`"glm-5",`, 64) + `"glm-5"]`) }, "invalid_parameter", "models", "more than 64"},
		{func(in *policy.Input) { in.Models = []byte("[" + strings.Repeat(" ", 70_000) + "]") }, "invalid_parameter", "models", "64 KiB"},
	} {
		err := refusal(t, c.change)
		if err.Code != c.code || err.Param != c.param || !strings.Contains(err.Message, c.piece) {
			t.Errorf("got %+v, want %s, %s, … %s …", *err, c.code, c.param, c.piece)
		}
	}
}

// SEL-10: default_providers and no others, and a message that does not deny the others.
func TestNobodyOfTheDefaults(t *testing.T) {
	c, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Data: []byte(`
providers: {a: {endpoint: "http://a"}, b: {endpoint: "http://b"}}
models:
  m: {default_providers: [a], offers: [{provider: a, model: a, enabled: false}, {provider: b, model: b}]}
`)})
	if err != nil {
		t.Fatal(err)
	}
	for param, in := range map[string]policy.Input{"model": {Model: []byte(`"m"`)}, "model_id": {ModelID: []byte(`"m"`)}} {
		in.API, in.Path = catalog.Chat, "/v1/chat/completions"
		req, refused := policy.Read(&in, c)
		if refused != nil {
			t.Fatal(refused)
		}
		_, refused = policy.Decide(req, &policy.Snapshot{Catalog: c}, noon, 0)
		if refused == nil || refused.Code != policy.CodeProviderNotAvailable || refused.Param != param || !strings.Contains(refused.Message, `no default provider of "m"`) {
			t.Errorf("%s: got %+v", param, refused)
		}
	}
}

// TestMessagesAreBounded: what a client sends comes back quoted, cut and valid.
func TestMessagesAreBounded(t *testing.T) {
	for _, long := range []string{strings.Repeat("ö", 20_000), strings.Repeat("\x7f", 20_000), strings.Repeat("\u2028", 20_000)} {
		text := []byte(toJSON(long))
		for name, change := range map[string]func(in *policy.Input){
			"model":    func(in *policy.Input) { in.Model = text },
			"differ":   func(in *policy.Input) { in.ModelID = text },
			"variant":  func(in *policy.Input) { in.VariantID = text },
			"string":   func(in *policy.Input) { in.Provider = text },
			"field":    provider(`{` + string(text) + `:1}`),
			"only":     provider(`{"only":[` + string(text) + `]}`),
			"header":   func(in *policy.Input) { in.XProvider = []string{long} },
			"conflict": func(in *policy.Input) { in.XVariantID = []string{long} },
			"models":   func(in *policy.Input) { in.Models = []byte("[" + string(text) + "]") },
			"suffix":   func(in *policy.Input) { in.Model = []byte(toJSON("kimi-k2.6:" + long)) },
		} {
			err := refusal(t, change)
			if len(err.Message) > 900 || !utf8.ValidString(err.Message) || strings.ContainsAny(err.Message, "\n\x7f\u2028") || len(err.Param) > 80 {
				t.Errorf("%s: %d bytes, param %q: %q", name, len(err.Message), err.Param, err.Message)
			}
		}
	}
}

// TestEnginesBelongToResponses: also a wrong engine is none of the other APIs'
// business.
func TestEnginesBelongToResponses(t *testing.T) {
	_, catalogs := suite(t)
	in := &policy.Input{API: catalog.Chat, Path: "/v1/chat/completions", Model: []byte(`"kimi-k2.6"`), Engine: []byte(`5`)}
	if _, err := policy.Read(in, catalogs["shop"]); err != nil {
		t.Error(err)
	}
}

// TestReadLeavesInputAlone: Read may be called again, and its results share
// nothing that a caller could change.
func TestReadLeavesInputAlone(t *testing.T) {
	_, catalogs := suite(t)
	in := &policy.Input{API: catalog.Chat, Path: "/v1/chat/completions", Model: []byte(` "kimi-k2.6:novita" `),
		Provider: []byte(` {"order" : [ "novita" ] } `), XProvider: []string{" Novita "}}
	before := string(in.Model) + string(in.Provider) + in.XProvider[0]
	first, err := policy.Read(in, catalogs["shop"])
	if err != nil {
		t.Fatal(err)
	}
	second, err := policy.Read(in, catalogs["shop"])
	if err != nil || first.Requested != second.Requested || first.Requested != "kimi-k2.6:novita" {
		t.Errorf("%v, %q and %q", err, first.Requested, second.Requested)
	}
	if after := string(in.Model) + string(in.Provider) + in.XProvider[0]; after != before {
		t.Errorf("input is %q, was %q", after, before)
	}
}
