package prefs

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// apply sends one PATCH after the other and returns what the last said, or the
// document as stored.
func apply(t *testing.T, patches ...string) string {
	t.Helper()
	c := parse(t, world)
	var doc Document
	for i, body := range patches {
		next, problem := Patch(doc, []byte(body), c)
		if problem != nil {
			if i < len(patches)-1 {
				t.Fatalf("PATCH %s: %v", body, problem)
			}
			if !reflect.DeepEqual(next, doc) {
				t.Errorf("a refused PATCH changed the document to %+v", next)
			}
			return fmt.Sprintf("%d %s %s", problem.Status, problem.Code, problem.Message)
		}
		doc = next
	}
	return string(doc.Encode())
}

func TestPatch(t *testing.T) {
	for _, c := range []struct {
		name    string
		patches []string
		want    string
	}{
		// PREF-2: PATCH changes the fields given.
		{"nothing given", []string{`{}`}, `{"v":1}`},
		{"a list", []string{`{"preferredProviders":["together","novita"]}`}, `{"v":1,"preferredProviders":["together","novita"]}`},
		{"space everywhere", []string{" { \"preferredProviders\" :\n[ \"together\" ,\t\"novita\" ] , \"enableFallback\" : false , \"modelOverrides\" : { \"kimi\" : { \"enableFallback\" : true } } } \n"},
			`{"v":1,"preferredProviders":["together","novita"],"enableFallback":false,"modelOverrides":{"moonshotai/kimi-k2.6":{"enableFallback":true}}}`},
		{"the rest stays", []string{`{"preferredProviders":["together"],"enableFallback":false}`, `{"excludedProviders":["novita"]}`},
			`{"v":1,"preferredProviders":["together"],"excludedProviders":["novita"],"enableFallback":false}`},
		{"a list replaces", []string{`{"preferredProviders":["together"]}`, `{"preferredProviders":["novita"]}`}, `{"v":1,"preferredProviders":["novita"]}`},
		{"null resets", []string{`{"preferredProviders":["together"],"excludedProviders":["novita"],"enableFallback":false}`,
			`{"preferredProviders":null,"excludedProviders":null,"enableFallback":null}`}, `{"v":1}`},
		{"the default is said", []string{`{"enableFallback":false}`, `{"enableFallback":true}`}, `{"v":1}`},
		{"an empty list", []string{`{"preferredProviders":["together"]}`, `{"preferredProviders":[]}`}, `{"v":1}`},
		{"names in any case, kept by slug", []string{`{"preferredProviders":["NOVITA-ai","TogeTher","novita ai"]}`}, `{"v":1,"preferredProviders":["novita","together"]}`},
		{"escapes in a name", []string{`{"preferredProviders":["\u006eovita"]}`}, `{"v":1,"preferredProviders":["novita"]}`},
		{"a provider that serves nothing may be preferred", []string{`{"preferredProviders":["idle"]}`}, `{"v":1,"preferredProviders":["idle"]}`},
		{"preferred and excluded", []string{`{"preferredProviders":["novita"],"excludedProviders":["novita"]}`}, `{"v":1,"preferredProviders":["novita"],"excludedProviders":["novita"]}`},

		{"overrides", []string{`{"modelOverrides":{"kimi":{"preferredProviders":["novita"],"enableFallback":true},"glm:5":{"excludedProviders":[]}}}`},
			`{"v":1,"modelOverrides":{"glm:5":{"excludedProviders":[]},"moonshotai/kimi-k2.6":{"preferredProviders":["novita"],"enableFallback":true}}}`},
		{"other models stay", []string{`{"modelOverrides":{"kimi":{"enableFallback":false}}}`, `{"modelOverrides":{"glm:5":{"enableFallback":true}}}`},
			`{"v":1,"modelOverrides":{"glm:5":{"enableFallback":true},"moonshotai/kimi-k2.6":{"enableFallback":false}}}`},
		{"an override replaces the whole of it", []string{`{"modelOverrides":{"kimi":{"enableFallback":false,"excludedProviders":["novita"]}}}`,
			`{"modelOverrides":{"moonshotai/kimi-k2.6":{"preferredProviders":[]}}}`}, `{"v":1,"modelOverrides":{"moonshotai/kimi-k2.6":{"preferredProviders":[]}}}`},
		{"null removes one", []string{`{"modelOverrides":{"kimi":{"enableFallback":false},"glm:5":{"enableFallback":false}}}`, `{"modelOverrides":{"kimi":null}}`},
			`{"v":1,"modelOverrides":{"glm:5":{"enableFallback":false}}}`},
		{"an override of nothing is none", []string{`{"modelOverrides":{"kimi":{"enableFallback":false}}}`, `{"modelOverrides":{"kimi":{"enableFallback":null}}}`}, `{"v":1}`},
		{"null removes all", []string{`{"modelOverrides":{"kimi":{"enableFallback":false}}}`, `{"modelOverrides":null}`}, `{"v":1}`},
		{"null for one that is not there", []string{`{"modelOverrides":{"kimi":null}}`}, `{"v":1}`},

		// PREF-3: malformed.
		{"no JSON", []string{`{"preferredProviders":`}, `422 INVALID_INPUT the body is not valid JSON`},
		{"nothing", []string{``}, `422 INVALID_INPUT the body is not valid JSON`},
		{"something behind it", []string{`{} {}`}, `422 INVALID_INPUT the body is not valid JSON`},
		{"no UTF-8", []string{"{\"preferredProviders\":[\"\xff\"]}"}, `422 INVALID_INPUT the body is not valid JSON`},
		{"no object", []string{`[]`}, `422 INVALID_INPUT the body must be a JSON object`},
		{"null", []string{`null`}, `422 INVALID_INPUT the body must be a JSON object`},
		{"a field too many", []string{`{"preferredProvider":[]}`},
			`422 INVALID_INPUT unknown field "preferredProvider": the fields are preferredProviders, excludedProviders, enableFallback and modelOverrides`},
		{"a field that is only read", []string{`{"availableProviders":["novita"]}`}, `422 INVALID_INPUT availableProviders cannot be set: it says which providers there are`},
		{"a field twice", []string{`{"enableFallback":true,"enable\u0046allback":false}`}, `422 INVALID_INPUT the body has the field "enableFallback" twice`},
		{"no list", []string{`{"preferredProviders":"novita"}`}, `422 INVALID_INPUT preferredProviders must be an array of provider ids`},
		{"an object for a list", []string{`{"excludedProviders":{}}`}, `422 INVALID_INPUT excludedProviders must be an array of provider ids`},
		{"no string", []string{`{"preferredProviders":["novita",7]}`}, `422 INVALID_INPUT preferredProviders[1] must be a string`},
		{"null in a list", []string{`{"preferredProviders":[null]}`}, `422 INVALID_INPUT preferredProviders[0] must be a string`},
		{"no boolean", []string{`{"enableFallback":"true"}`}, `422 INVALID_INPUT enableFallback must be true or false`},
		{"a number for a boolean", []string{`{"enableFallback":1}`}, `422 INVALID_INPUT enableFallback must be true or false`},
		{"no overrides", []string{`{"modelOverrides":[]}`}, `422 INVALID_INPUT modelOverrides must be an object`},
		{"no override", []string{`{"modelOverrides":{"kimi":["novita"]}}`}, `422 INVALID_INPUT modelOverrides["kimi"] must be an object`},
		{"wrong inside an override", []string{`{"modelOverrides":{"glm:5":{"preferredProviders":[true]}}}`}, `422 INVALID_INPUT modelOverrides["glm:5"].preferredProviders[0] must be a string`},
		{"overrides in an override", []string{`{"modelOverrides":{"kimi":{"modelOverrides":{}}}}`},
			`422 INVALID_INPUT modelOverrides["kimi"] has an unknown field "modelOverrides": the fields are preferredProviders, excludedProviders and enableFallback`},
		{"a field twice in an override", []string{`{"modelOverrides":{"kimi":{"enableFallback":true,"enableFallback":true}}}`}, `422 INVALID_INPUT modelOverrides["kimi"] has the field "enableFallback" twice`},
		{"a model twice", []string{`{"modelOverrides":{"kimi":{},"moonshotai/kimi-k2.6":null}}`}, `422 INVALID_INPUT modelOverrides names model "moonshotai/kimi-k2.6" twice, under two of its names`},

		// PREF-3: unknown names.
		{"unknown provider", []string{`{"preferredProviders":["novita","nobody"]}`}, `422 INVALID_INPUT preferredProviders[1] names an unknown provider "nobody"`},
		{"unknown provider in an override", []string{`{"modelOverrides":{"kimi":{"excludedProviders":["nobody"]}}}`}, `422 INVALID_INPUT modelOverrides["kimi"].excludedProviders[0] names an unknown provider "nobody"`},
		{"an empty name", []string{`{"excludedProviders":[""]}`}, `422 INVALID_INPUT excludedProviders[0] names an unknown provider ""`},
		{"unknown model", []string{`{"modelOverrides":{"gpt\n":null}}`}, `422 INVALID_INPUT modelOverrides names an unknown model "gpt\n"`},
		{"a model's case matters", []string{`{"modelOverrides":{"KIMI":null}}`}, `422 INVALID_INPUT modelOverrides names an unknown model "KIMI"`},

		// PREF-3: exclusions that leave a model without a provider.
		{"both providers of a model", []string{`{"excludedProviders":["together","moonshot"]}`}, `400 INVALID_EXCLUSIONS excludedProviders leaves model "glm:5" without a provider`},
		{"a disabled offer does not count", []string{`{"excludedProviders":["novita","together"]}`}, `400 INVALID_EXCLUSIONS excludedProviders leaves model "moonshotai/kimi-k2.6" without a provider`},
		{"in an override", []string{`{"modelOverrides":{"kimi":{"excludedProviders":["together","novita-ai"]}}}`},
			`400 INVALID_EXCLUSIONS modelOverrides["moonshotai/kimi-k2.6"].excludedProviders leaves model "moonshotai/kimi-k2.6" without a provider`},
		{"an override lifts it", []string{`{"excludedProviders":["together","moonshot"],"modelOverrides":{"glm:5":{"excludedProviders":["moonshot"]}}}`},
			`{"v":1,"excludedProviders":["together","moonshot"],"modelOverrides":{"glm:5":{"excludedProviders":["moonshot"]}}}`},
		{"the override that lifted it goes", []string{`{"excludedProviders":["together","moonshot"],"modelOverrides":{"glm:5":{"excludedProviders":[]}}}`, `{"modelOverrides":{"glm:5":null}}`},
			`400 INVALID_EXCLUSIONS excludedProviders leaves model "glm:5" without a provider`},
		{"all of them go", []string{`{"excludedProviders":["together","moonshot"],"modelOverrides":{"glm:5":{"excludedProviders":[]}}}`, `{"modelOverrides":null}`},
			`400 INVALID_EXCLUSIONS excludedProviders leaves model "glm:5" without a provider`},
		{"a model that ignores preferences", []string{`{"excludedProviders":["fixed"]}`}, `{"v":1,"excludedProviders":["fixed"]}`},
		{"a model that nobody serves anyway", []string{`{"excludedProviders":["idle"]}`}, `{"v":1,"excludedProviders":["idle"]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := apply(t, c.patches...); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestPatchParam(t *testing.T) {
	c := parse(t, world)
	for body, want := range map[string]string{
		`[]`:                                "",
		`{"enableFallback":1}`:              "enableFallback",
		`{"preferredProviders":["nobody"]}`: "preferredProviders[0]",
		`{"modelOverrides":{"kimi":{"enableFallback":1}}}`:                        `modelOverrides["kimi"].enableFallback`,
		`{"modelOverrides":{"` + strings.Repeat("x", 500) + `":{}}}`:              "modelOverrides",
		`{"modelOverrides":{"kimi":{"excludedProviders":["novita","together"]}}}`: `modelOverrides["moonshotai/kimi-k2.6"].excludedProviders`,
	} {
		_, problem := Patch(Document{}, []byte(body), c)
		if problem == nil || problem.Param != want {
			t.Errorf("PATCH %s: got %+v, want param %s", body, problem, want)
		}
		if problem != nil && len(problem.Message) > 400 {
			t.Errorf("PATCH %.40s: a message of %d bytes", body, len(problem.Message))
		}
	}
}

// What a client sends comes back bounded, and as plain text.
func TestPatchQuotes(t *testing.T) {
	c := parse(t, world)
	name := strings.Repeat("é", 40) + "\u202e<script>"
	_, problem := Patch(Document{}, fmt.Appendf(nil, `{"preferredProviders":[%q]}`, name), c)
	if problem == nil {
		t.Fatal("accepted")
	}
	want := `preferredProviders[0] names an unknown provider "` + strings.Repeat(`\u00e9`, 32) + `"...`
	if problem.Message != want {
		t.Errorf("got %s, want %s", problem.Message, want)
	}
}

func TestPatchBounds(t *testing.T) {
	c := parse(t, world)
	pad := func(n int) []byte { return []byte("{" + strings.Repeat(" ", n-2) + "}") }
	if _, problem := Patch(Document{}, pad(MaxBody), c); problem != nil {
		t.Errorf("a body of the largest size: %v", problem)
	}
	for _, n := range []int{MaxBody + 1, 1 << 20} {
		_, problem := Patch(Document{}, pad(n), c)
		if problem == nil || problem.Status != 413 || problem.Code != "request_too_large" {
			t.Errorf("a body of %d bytes: got %v, want 413 request_too_large", n, problem)
		}
	}

	// Many models, each overridden: the first document that is too large is refused,
	// and the one before stays as it is.
	var b strings.Builder
	b.WriteString("providers: {one: {endpoint: 'https://a.example'}}\nmodels:\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "  model-with-a-long-name-%04d: {offers: [{provider: one, model: m}]}\n", i)
	}
	c = parse(t, b.String())
	var doc Document
	for i := range 2000 {
		next, problem := Patch(doc, fmt.Appendf(nil, `{"modelOverrides":{"model-with-a-long-name-%04d":{"preferredProviders":["one"]}}}`, i), c)
		if problem == nil {
			doc = next
			continue
		}
		if size := len(doc.Encode()); size > MaxDocument || size < MaxDocument-200 {
			t.Errorf("the largest document has %d bytes", size)
		}
		if problem.Status != 422 || problem.Code != CodeInvalidInput || !strings.Contains(problem.Message, "the limit is 65536") {
			t.Errorf("the document too large: %v", problem)
		}
		return
	}
	t.Fatal("a document grew without end")
}

// After a reload, what was saved under an older catalog neither stops a user from
// changing the rest nor is lost.
func TestPatchAfterReload(t *testing.T) {
	doc, problem := Patch(Document{}, []byte(`{"preferredProviders":["novita","together"],"excludedProviders":["moonshot"],"modelOverrides":{"glm:5":{"enableFallback":false}}}`), parse(t, world))
	if problem != nil {
		t.Fatal(problem)
	}
	// novita and together are gone, glm:5 is an alias of another model, and of the
	// last model only the excluded provider is left.
	c := parse(t, `
providers: {moonshot: {endpoint: "https://c.example/v1"}, new: {endpoint: "https://d.example/v1"}}
models:
  glm-6: {aliases: ["glm:5"], offers: [{provider: new, model: m}]}
  kimi: {offers: [{provider: moonshot, model: m}]}
`)
	doc, problem = Patch(doc, []byte(`{"enableFallback":false}`), c)
	if problem != nil {
		t.Fatalf("a change of something else: %v", problem)
	}
	if want := `{"v":1,"preferredProviders":["novita","together"],"excludedProviders":["moonshot"],"enableFallback":false,"modelOverrides":{"glm:5":{"enableFallback":false}}}`; string(doc.Encode()) != want {
		t.Errorf("got %s, want %s", doc.Encode(), want)
	}
	if want := `{"preferredProviders":[],"excludedProviders":["moonshot"],"enableFallback":false,"modelOverrides":{"glm-6":{"enableFallback":false}},"availableProviders":["moonshot","new"]}`; string(Render(doc, c)) != want {
		t.Errorf("GET shows %s, want %s", Render(doc, c), want)
	}
	if _, problem = Patch(doc, []byte(`{"excludedProviders":["moonshot"]}`), c); problem == nil || problem.Code != CodeInvalidExclusions {
		t.Errorf("the exclusion once more: %v, want INVALID_EXCLUSIONS", problem)
	}
	if doc, problem = Patch(doc, []byte(`{"modelOverrides":{"glm-6":{"enableFallback":true}}}`), c); problem != nil || len(doc.Models) != 1 {
		t.Errorf("an override under the new id: %+v, %v; want it to replace the old one", doc.Models, problem)
	}
}

func TestRender(t *testing.T) {
	c := parse(t, world)
	for body, want := range map[string]string{
		`{}`: `{"preferredProviders":[],"excludedProviders":[],"enableFallback":true,"modelOverrides":{},"availableProviders":["moonshot","novita","together"]}`,
		`{"preferredProviders":["together","novita-ai"],"excludedProviders":["idle"],"enableFallback":false,"modelOverrides":{"kimi":{"preferredProviders":["novita"]},"pinned":{"enableFallback":true,"excludedProviders":[]}}}`: `{"preferredProviders":["together","novita"],"excludedProviders":["idle"],"enableFallback":false,"modelOverrides":{"moonshotai/kimi-k2.6":{"preferredProviders":["novita"]},"pinned":{"excludedProviders":[],"enableFallback":true}},"availableProviders":["moonshot","novita","together"]}`,
	} {
		doc, problem := Patch(Document{}, []byte(body), c)
		if problem != nil {
			t.Fatal(problem)
		}
		if got := string(Render(doc, c)); got != want {
			t.Errorf("GET after PATCH %s\ngot  %s\nwant %s", body, got, want)
		}
	}
}

func TestDecodeForeign(t *testing.T) {
	for _, b := range []string{
		"", "hello", "null", "[]", "{}", `{"v":2}`, `{"v":1,"sort":"price"}`, `{"v":1}{}`, `{"v":1} x`, `{"v":"1"}`,
		`{"v":1,"preferredProviders":"novita"}`, `{"v":1,"modelOverrides":{"x":7}}`, "\x00\x01", `{"v":1` + strings.Repeat(" ", MaxDocument) + "}",
	} {
		if d, err := Decode([]byte(b)); err == nil || !d.IsZero() {
			t.Errorf("%.40q was decoded as %+v", b, d)
		}
	}
	want := Document{
		Preferred: []string{"a"}, Excluded: []string{"b"}, EnableFallback: new(false),
		Models: map[string]Override{"m": {Preferred: []string{}, EnableFallback: new(true)}, "n": {Excluded: []string{"c"}}},
	}
	got, err := Decode(want.Encode())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s was decoded as %+v, %v", want.Encode(), got, err)
	}
}

// The names in the API's examples.
func TestSeedExample(t *testing.T) {
	c := parse(t, `
providers: {provider-a: {endpoint: "https://a.example"}, provider-b: {endpoint: "https://b.example"}, provider-c: {endpoint: "https://c.example"}}
models: {model-id: {offers: [{provider: provider-a, model: m}, {provider: provider-b, model: m}, {provider: provider-c, model: m}]}}
`)
	body := `{"preferredProviders":["provider-a","provider-b"],"excludedProviders":["provider-c"],"enableFallback":false,"modelOverrides":{"model-id":{"preferredProviders":["provider-b"],"enableFallback":true}}}`
	doc, problem := Patch(Document{}, []byte(body), c)
	if problem != nil {
		t.Fatal(problem)
	}
	var got, want map[string]any
	if err := json.Unmarshal(Render(doc, c), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(strings.TrimSuffix(body, "}")+`,"availableProviders":["provider-a","provider-b","provider-c"]}`), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("GET shows %v, want %v", got, want)
	}
}
