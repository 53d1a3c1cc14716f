package prefs

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/catalog"
)

// The second, naive implementation: a document is the JSON object that a GET shows
// without availableProviders, and a PATCH is merged into it field by field.

type object = map[string]any

func naivePatch(doc, patch object, c *catalog.Catalog) object {
	out := maps.Clone(doc)
	for field, v := range patch {
		switch {
		case field == "modelOverrides" && v == nil:
			delete(out, field)
		case field == "modelOverrides":
			all := object{}
			if old, ok := out[field].(object); ok {
				all = maps.Clone(old)
			}
			for name, o := range v.(object) {
				m, _ := c.Model(name)
				one := object{}
				if given, ok := o.(object); ok {
					for f, x := range given {
						if x != nil {
							one[f] = naiveValue(x, c)
						}
					}
				}
				if delete(all, m.ID); len(one) > 0 {
					all[m.ID] = one
				}
			}
			out[field] = all
		case v == nil:
			delete(out, field)
		default:
			out[field] = naiveValue(v, c)
		}
	}
	return out
}

func naiveValue(v any, c *catalog.Catalog) any {
	names, ok := v.([]any)
	if !ok {
		return v
	}
	slugs := []any{}
	for _, name := range names {
		p, _ := c.Provider(name.(string))
		if !slices.Contains(slugs, any(p.Slug)) {
			slugs = append(slugs, p.Slug)
		}
	}
	return slugs
}

// naiveRender fills in the defaults.
func naiveRender(doc object) object {
	out := object{"preferredProviders": []any{}, "excludedProviders": []any{}, "enableFallback": true, "modelOverrides": object{}}
	maps.Copy(out, doc)
	return out
}

// stranded: some model with selection has enabled offers and all are excluded.
func stranded(doc object, c *catalog.Catalog) bool {
	for _, m := range c.Models {
		excluded, _ := doc["excludedProviders"].([]any)
		if all, ok := doc["modelOverrides"].(object); ok {
			if o, ok := all[m.ID].(object); ok && o["excludedProviders"] != nil {
				excluded = o["excludedProviders"].([]any)
			}
		}
		enabled := slices.DeleteFunc(slices.Clone(m.Offers), func(o *catalog.Offer) bool { return !o.Enabled })
		left := slices.DeleteFunc(slices.Clone(enabled), func(o *catalog.Offer) bool { return slices.Contains(excluded, any(o.Provider.Slug)) })
		if m.ProviderSelection && len(enabled) > 0 && len(left) == 0 {
			return true
		}
	}
	return false
}

// drawList draws names by which the world's providers are known.
func drawList(t *rapid.T, label string) any {
	names := []string{"novita", "NOVITA", "novita-ai", "Novita AI", "together", "moonshot", "idle", "fixed"}
	list := rapid.SliceOfN(rapid.SampledFrom(names), 0, 4).Draw(t, label)
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// drawFields draws some of the three fields, each a value or null.
func drawFields(t *rapid.T, label string) object {
	out := object{}
	for _, f := range []string{"preferredProviders", "excludedProviders", "enableFallback"} {
		switch kind := rapid.IntRange(0, 4).Draw(t, label+f); {
		case kind == 0:
			out[f] = nil
		case kind < 3 && f == "enableFallback":
			out[f] = kind == 1
		case kind < 3:
			out[f] = drawList(t, f)
		}
	}
	return out
}

func drawPatch(t *rapid.T) object {
	patch := drawFields(t, "")
	switch rapid.IntRange(0, 5).Draw(t, "overrides") {
	case 0:
		patch["modelOverrides"] = nil
	case 1, 2, 3:
		over := object{}
		for _, m := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"moonshotai/kimi-k2.6", "glm:5", "pinned", "gone"}), 0, 3, rapid.ID[string]).Draw(t, "models") {
			if m == "moonshotai/kimi-k2.6" && rapid.Bool().Draw(t, "alias") {
				m = "kimi"
			}
			if over[m] = any(drawFields(t, m)); rapid.IntRange(0, 3).Draw(t, "null") == 0 {
				over[m] = nil
			}
		}
		patch["modelOverrides"] = over
	}
	return patch
}

// shown is a document as a GET shows it, without availableProviders.
func shown(t *rapid.T, d Document, c *catalog.Catalog) object {
	var out object
	if err := json.Unmarshal(Render(d, c), &out); err != nil {
		t.Fatal(err)
	}
	delete(out, "availableProviders")
	return out
}

func TestPatchAgainstNaive(t *testing.T) {
	c := parse(t, world)
	rapid.Check(t, func(t *rapid.T) {
		var doc Document
		naive := object{}
		for range rapid.IntRange(1, 6).Draw(t, "patches") {
			patch := drawPatch(t)
			body, err := json.Marshal(patch)
			if err != nil {
				t.Fatal(err)
			}
			before := string(doc.Encode())
			next, problem := Patch(doc, body, c)
			if string(doc.Encode()) != before {
				t.Fatalf("PATCH %s changed the document it was given", body)
			}
			want := naivePatch(naive, patch, c)
			if bad := stranded(want, c); bad != (problem != nil) {
				t.Fatalf("PATCH %s on %s: %v; stranded is %v", body, before, problem, bad)
			}
			if problem != nil {
				if problem.Code != CodeInvalidExclusions {
					t.Fatalf("PATCH %s: %v", body, problem)
				}
				continue
			}
			doc, naive = next, want
			if got, want := shown(t, doc, c), naiveRender(naive); !reflect.DeepEqual(got, want) {
				t.Fatalf("PATCH %s on %s\ngot  %v\nwant %v", body, before, got, want)
			}
			checkStored(t, doc, c)
		}
	})
}

// checkStored: what is kept survives storage, and sending back what a GET shows
// gives the same document.
func checkStored(t *rapid.T, doc Document, c *catalog.Catalog) {
	back, err := Decode(doc.Encode())
	if err != nil || !reflect.DeepEqual(back, doc) {
		t.Fatalf("%s was decoded as %+v, %v", doc.Encode(), back, err)
	}
	body, err := json.Marshal(shown(t, doc, c))
	if err != nil {
		t.Fatal(err)
	}
	again, problem := Patch(Document{}, body, c)
	if problem != nil || !reflect.DeepEqual(again, doc) {
		t.Fatalf("what a GET shows, sent back: %s became %s, %v", body, again.Encode(), problem)
	}
}

// Whatever the body, a Patch gives a document that fits, or says what is wrong in
// bounded plain text.
func FuzzPatch(f *testing.F) {
	c := parse(f, world)
	for _, s := range []string{
		`{}`, `null`, `[]`, `{"preferredProviders":["novita"]}`, `{"modelOverrides":{"kimi":{"excludedProviders":["together"],"enableFallback":false}}}`,
		`{"modelOverrides":{"kimi":null,"glm:5":{}},"enableFallback":null}`, `{"a":{"a":{"a":[[[1e999]]]}}}`, `{"preferredProviders":["\ud800"]}`,
		` { "enableFallback" : tru }`, `{"":""}`, `{"modelOverrides":{"":{}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		doc, problem := Patch(Document{}, body, c)
		if problem != nil {
			if !doc.IsZero() || problem.Status == 0 || problem.Message == "" || len(problem.Message) > 2000 || strings.ContainsFunc(problem.Message, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("%+v with %+v", problem, doc)
			}
			return
		}
		back, err := Decode(doc.Encode())
		if err != nil || !reflect.DeepEqual(back, doc) {
			t.Fatalf("%s was decoded as %+v, %v", doc.Encode(), back, err)
		}
		for _, list := range [][]string{doc.Preferred, doc.Excluded} {
			for _, slug := range list {
				if p, ok := c.Provider(slug); !ok || p.Slug != slug {
					t.Fatalf("%q is no slug", slug)
				}
			}
		}
		for id := range doc.Models {
			if m, ok := c.Model(id); !ok || m.ID != id {
				t.Fatalf("%q is no model's id", id)
			}
		}
	})
}
