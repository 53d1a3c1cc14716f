package conformance_test

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy/conformance"
)

const example = `# a comment
=== SEL-2a only is hard
quote seed 002: "only is hard."
catalog shop
cooling novita@kimi-k2.6 30s
measured novita@kimi-k2.6 250ms 80.5
preferred novita moonshot
fallback off
override glm-5 preferred
override glm-5 excluded novita
subscriber
sticky novita
POST /v1/chat/completions
X-Provider: novita
X-Empty:

{
# not a comment: "model"
}
----
200 explicit paygo
novita

baseten@zai-org/glm-5
- moonshot: not in only
- cerebras@zai-org/glm-5: beyond max_attempts
=== REQ-6a an error
catalog shop
POST /v1/responses

{}
----
400 invalid_provider_object provider.sort
`

func TestParse(t *testing.T) {
	cases, err := conformance.Parse("selecting.txt", example)
	if err != nil {
		t.Fatal(err)
	}
	want := []conformance.Case{{
		ID: "SEL-2a", Title: "only is hard", Section: "selecting", Line: 2,
		Quotes: []string{`seed 002: "only is hard."`}, Catalog: "shop", Path: "/v1/chat/completions",
		Headers: []conformance.Header{{Name: "X-Provider", Value: "novita"}, {Name: "X-Empty"}},
		Body:    []byte("{\n# not a comment: \"model\"\n}"),
		State: conformance.State{
			Cooling:    map[string]time.Duration{"novita@kimi-k2.6": 30 * time.Second},
			Measured:   map[string]conformance.Measured{"novita@kimi-k2.6": {TTFT: 250 * time.Millisecond, Throughput: 80.5}},
			Saved:      &conformance.Saved{Preferred: []string{"novita", "moonshot"}, Fallback: "off"},
			Overrides:  map[string]conformance.Saved{"glm-5": {Preferred: []string{}, Excluded: []string{"novita"}}},
			Subscriber: true, Sticky: "novita",
		},
		Want: conformance.Want{Status: 200, Kind: "explicit", Charged: "paygo",
			Attempts: []conformance.Attempt{{Provider: "novita"}, {Provider: "baseten", Model: "zai-org/glm-5"}},
			Left:     []conformance.LeftOut{{"moonshot", "", "not in only"}, {"cerebras", "zai-org/glm-5", "beyond max_attempts"}}},
	}, {
		ID: "REQ-6a", Title: "an error", Section: "selecting", Line: 27, Catalog: "shop", Path: "/v1/responses", Body: []byte("{}"),
		Want: conformance.Want{Status: 400, Code: "invalid_provider_object", Param: "provider.sort"},
	}}
	if !reflect.DeepEqual(cases, want) {
		t.Errorf("got  %+v\nwant %+v", cases, want)
	}
	if cases[0].State.OfUser() || !cases[1].State.OfUser() {
		t.Error("the first case has a state that is no user's, the second has none")
	}
}

func TestPatch(t *testing.T) {
	cat, err := catalog.Parse(catalog.Source{Name: "c.yaml", Data: []byte(`
providers: {a: {endpoint: http://a}, b: {endpoint: http://b}}
models:
  both: {aliases: [two], offers: [{provider: a, model: x}, {provider: b, model: x}]}
  one: {offers: [{provider: a, model: x}, {provider: b, model: x, enabled: false}]}
  too: {offers: [{provider: a, model: x}]}
`)})
	if err != nil {
		t.Fatal(err)
	}
	cases, err := conformance.Parse("x.txt", "=== X-1 t\npreferred b\nexcluded a\nfallback off\noverride two preferred\noverride two fallback on\nPOST /x\n\n{}\n----\n200 default\n")
	if err != nil {
		t.Fatal(err)
	}
	asked, _ := cat.Model("too")
	const want = `{"preferredProviders":["b"],"excludedProviders":["a"],"enableFallback":false,` +
		`"modelOverrides":{"both":{"preferredProviders":[],"enableFallback":true},"one":{"excludedProviders":[]}}}`
	if got := cases[0].State.Patch(cat, asked); string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := new(conformance.State).Patch(cat, asked); got != nil {
		t.Errorf("nothing saved: %s", got)
	}
}

func TestParseFaults(t *testing.T) {
	const head, end = "=== X-1 t\ncatalog c\nPOST /v1/responses\n\n{}\n", "----\n200 default\n"
	for name, text := range map[string]string{
		"no outcome":       head,
		"empty outcome":    head + "----\n",
		"no body":          "=== X-1 t\ncatalog c\n",
		"case in a case":   head + "=== X-2 t\n",
		"before any case":  "catalog c\n",
		"unknown line":     "=== X-1 t\ncolling a 1s\n",
		"half a line":      "=== X-1 t\ncooling a\n",
		"no duration":      "=== X-1 t\ncooling a soon\n",
		"no figure":        "=== X-1 t\nmeasured a 1s fast\n",
		"fallback maybe":   "=== X-1 t\nfallback maybe\n",
		"sticky to nobody": "=== X-1 t\nsticky\n",
		"not a header":     "=== X-1 t\nPOST /x\nheader\n",
		"not a status":     head + "----\nfine\n",
		"status alone":     head + "----\n200\n",
	} {
		if cases, err := conformance.Parse("x.txt", text); err == nil {
			t.Errorf("%s: parsed as %+v", name, cases)
		}
	}
	for name, fsys := range map[string]fstest.MapFS{
		"twice":      {"a.txt": {Data: []byte(head + end + head + end)}, "catalogs/c.yaml": {}},
		"no catalog": {"a.txt": {Data: []byte(head + end)}},
		"fault":      {"a.txt": {Data: []byte(head)}},
	} {
		if s, err := conformance.Load(fsys); err == nil {
			t.Errorf("%s: loaded as %+v", name, s)
		}
	}
}

func TestWithEndpoints(t *testing.T) {
	s, err := conformance.Load(os.DirFS("../testdata/conformance"))
	if err != nil {
		t.Fatal(err)
	}
	for name, yaml := range s.Catalogs {
		changed := conformance.WithEndpoints(yaml, func(slug string) string { return "http://127.0.0.1:7/" + slug })
		c, err := catalog.Parse(catalog.Source{Name: name, Data: changed, Dir: "/nowhere"})
		if err != nil || strings.Contains(string(changed), conformance.Placeholder+`"`) {
			t.Fatalf("%s: %v", name, err)
		}
		for _, p := range c.Providers {
			if p.Endpoint.Path != "/"+p.Slug {
				t.Errorf("%s: provider %s has the path %s", name, p.Slug, p.Endpoint.Path)
			}
		}
	}
}

// TestCompareSeesDifferences: each outcome that is not the wanted one is told.
func TestCompareSeesDifferences(t *testing.T) {
	s, err := conformance.Load(os.DirFS("../testdata/conformance"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Cases {
		c := &s.Cases[i]
		cat, err := catalog.Parse(catalog.Source{Name: c.Catalog, Data: s.Catalogs[c.Catalog], Dir: "/nowhere"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Decide(cat, time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		wrong := []conformance.Want{{Status: 400, Code: "other", Param: c.Want.Param}, {Status: 200, Kind: "other", Attempts: c.Want.Attempts}}
		if c.Want.Code == "" {
			w := c.Want
			w.Attempts = w.Attempts[1:]
			wrong = append(wrong, w)
			w = c.Want
			w.Left = []conformance.LeftOut{{Provider: "nobody", Reason: "disabled"}}
			wrong = append(wrong, w)
			w = c.Want
			if w.Charged = "paygo"; r.Decision.Paygo {
				w.Charged = "subscription"
			}
			wrong = append(wrong, w)
		}
		for _, w := range wrong {
			if len(w.Compare(r)) == 0 {
				t.Errorf("%s: %+v is taken for %+v", c.ID, w, c.Want)
			}
		}
	}
}
