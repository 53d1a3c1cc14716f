package state

import (
	"reflect"
	"testing"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/prefs"
)

func parse(t testing.TB, text string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Data: []byte(text), Dir: "/etc/shunt"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const world = `
providers: {novita: {aliases: [nova], endpoint: "https://a.example"}, together: {endpoint: "https://b.example"}}
models:
  kimi: {aliases: [old-kimi], offers: [{provider: novita, model: m}, {provider: together, model: m}]}
  glm: {offers: [{provider: together, model: m}]}
`

func TestResolve(t *testing.T) {
	c := parse(t, world)
	novita, _ := c.Provider("novita")
	together, _ := c.Provider("together")
	kimi, _ := c.Model("kimi")
	glm, _ := c.Model("glm")
	one := func(p *catalog.Provider) []*catalog.Provider { return []*catalog.Provider{p} }
	none := []*catalog.Provider{}
	no := new(false)
	for name, x := range map[string]struct {
		doc  prefs.Document
		want *policy.Preferences
	}{
		"nothing": {prefs.Document{}, nil},
		"all": {
			prefs.Document{Preferred: []string{"together", "novita"}, Excluded: []string{"novita"}, EnableFallback: no,
				Models: map[string]prefs.Override{"kimi": {Preferred: []string{}, EnableFallback: new(true)}, "glm": {Excluded: []string{"together"}}}},
			&policy.Preferences{Preferred: []*catalog.Provider{together, novita}, Excluded: one(novita), Models: map[*catalog.Model]policy.Override{
				kimi: {Preferred: none, EnableFallback: new(true)}, glm: {Excluded: one(together)},
			}},
		},
		"stale names, and names that are aliases by now": {
			prefs.Document{Preferred: []string{"gone", "nova", "novita"}, Excluded: []string{"gone"},
				Models: map[string]prefs.Override{"gone": {EnableFallback: no}, "old-kimi": {Preferred: []string{"gone"}}}},
			&policy.Preferences{Preferred: one(novita), Excluded: none, EnableFallback: true, Models: map[*catalog.Model]policy.Override{kimi: {Preferred: none}}},
		},
		"two ids that are one model's by now": {
			prefs.Document{Models: map[string]prefs.Override{"kimi": {EnableFallback: no}, "old-kimi": {EnableFallback: new(true)}}},
			&policy.Preferences{EnableFallback: true, Models: map[*catalog.Model]policy.Override{kimi: {EnableFallback: no}}},
		},
	} {
		if got := Resolve(x.doc, c); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, x.want)
		}
	}
}

// For resolves against the request's catalog, and only once.
func TestFor(t *testing.T) {
	s := open(t, options(t, ""))
	current(t, s)
	c := parse(t, world)
	if p, err := s.Preferences().For(t.Context(), "u", c); p != nil || err != nil {
		t.Errorf("nothing saved: %+v, %v", p, err)
	}
	set(t, s, "u", "novita")
	first, err := s.Preferences().For(t.Context(), "u", c)
	if err != nil || first == nil || first.Preferred[0].Slug != "novita" {
		t.Fatalf("got %+v, %v", first, err)
	}
	if again, _ := s.Preferences().For(t.Context(), "u", c); again != first {
		t.Error("resolved twice")
	}
	reloaded := parse(t, world)
	after, err := s.Preferences().For(t.Context(), "u", reloaded)
	if p, _ := reloaded.Provider("novita"); err != nil || after.Preferred[0] != p {
		t.Errorf("after a reload: %+v, %v", after, err)
	}
	set(t, s, "u", "together")
	if now, _ := s.Preferences().For(t.Context(), "u", reloaded); now.Preferred[0].Slug != "together" {
		t.Errorf("after a change: %+v", now)
	}
	if raceEnabled {
		return // the race detector makes sync.Pool forget on purpose
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() { _, _ = s.Preferences().For(ctx, "u", reloaded) }); n > 0.1 {
		t.Errorf("%v allocations a request, want none", n)
	}
}
