package policy_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// FuzzModelString feeds any string to the model-string reader. The corpus that it
// found worth keeping is in testdata/fuzz.
//
//	go test ./policy -run FuzzModelString -fuzz FuzzModelString -fuzztime 20s
func FuzzModelString(f *testing.F) {
	_, catalogs := suite(f)
	c := catalogs["shop"]
	for _, s := range []string{"kimi-k2.6", "kimi-k2.6:fast", "moonshotai/kimi-k2.6:thinking:caching:price", "novita/kimi-k2.6",
		"novita/novita/house-blend", "glm-5:fast:fast", "thrifty:novita", ":", "/", ":::", "a/b/c:d", "kimi-k2.6:cerebras",
		"kimi-k2.6:Moonshot AI", "plain:tools", "\xff:fast", strings.Repeat(":fast", 400), "novita/" + strings.Repeat("x", 2000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		in := &policy.Input{API: catalog.Chat, Path: "/v1/chat/completions", Model: []byte(toJSON(s))}
		req, err := policy.Read(in, c)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		dec, err := policy.Decide(req, &policy.Snapshot{Catalog: c}, noon, 0)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		// what was read is what was written: the string names the model or a variant of it
		if !namesModel(s, req) {
			t.Fatalf("%q was read as %s", s, req.Model.ID)
		}
		if dec.Kind == policy.KindDefault && req.Model.ProviderSelection && !namesWhole(s, req) {
			t.Fatalf("more than the model stands in %q, and it has no effect", s)
		}
	})
}

func namesWhole(s string, req *policy.Request) bool {
	for _, name := range append([]string{req.Model.ID}, req.Model.Aliases...) {
		if s == name {
			return true
		}
	}
	return req.Variant != nil && s == req.Variant.Name
}

func namesModel(s string, req *policy.Request) bool {
	names := append([]string{req.Model.ID}, req.Model.Aliases...)
	if req.Variant != nil {
		names = append(names, req.Variant.Name)
	}
	for _, name := range names {
		if s == name || strings.HasPrefix(s, name+":") || strings.HasSuffix(s, "/"+name) || strings.Contains(s, "/"+name+":") {
			return true
		}
	}
	return false
}

func checkRefusal(t *testing.T, err *policy.Error) {
	t.Helper()
	if err.Status != 400 && err.Status != 404 || err.Code == "" {
		t.Fatalf("%+v is not a refusal", err)
	}
	if len(err.Message) > 600 || !utf8.ValidString(err.Message) || strings.ContainsAny(err.Message, "\n\r\x00") ||
		len(err.Param) > 200 || !utf8.ValidString(err.Param) {
		t.Fatalf("message %q, param %q", err.Message, err.Param)
	}
}

// FuzzProvider feeds any bytes as the body's provider.
//
//	go test ./policy -run FuzzProvider -fuzz FuzzProvider -fuzztime 20s
func FuzzProvider(f *testing.F) {
	_, catalogs := suite(f)
	c := catalogs["shop"]
	for _, s := range []string{`"novita"`, `{}`, `{"order":["novita"],"only":["novita"],"ignore":[],"sort":"price"}`,
		`{"max_price":{"prompt":1e999999999,"completion":0.0000000000000000000000000000000000000000000000000000000000000000001}}`,
		`{"max_price":{"prompt":-0}}`, `{"\u006frder":["novita"],"order":[]}`, `{"sort":"price"`, `[`, "\xef\xbb\xbf{}", `{"` + "\xff" + `":1}`,
		`{"only":["` + strings.Repeat("é", 100) + `"]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := &policy.Input{API: catalog.Chat, Path: "/v1/chat/completions", Model: []byte(`"kimi-k2.6"`), Provider: raw}
		req, err := policy.Read(in, c)
		if err == nil {
			_, err = policy.Decide(req, &policy.Snapshot{Catalog: c}, noon, 0)
		}
		if err != nil {
			checkRefusal(t, err)
		}
	})
}
