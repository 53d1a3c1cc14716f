package catalog

import (
	"testing"
)

func TestLookups(t *testing.T) {
	c, _ := full(t)
	for _, name := range []string{"together", "TOGETHER", "Together AI", "together ai"} {
		p, ok := c.Provider(name)
		q, okBytes := c.ProviderBytes([]byte(name))
		if !ok || !okBytes || p != q || p.Slug != "together" {
			t.Errorf("%s: got %v, %v", name, p, q)
		}
	}
	if p, ok := c.Provider("Novita-AI"); !ok || p.Slug != "novita" {
		t.Errorf("an alias in another case: got %v", p)
	}
	for _, name := range []string{"", "nobody", string(make([]byte, 1000)), "novítä"} {
		if p, ok := c.ProviderBytes([]byte(name)); ok || p != nil {
			t.Errorf("%q: got %v", name, p)
		}
	}
	if m, ok := c.Model("Kimi-K2.6"); ok {
		t.Errorf("models match exactly, but got %v", m.ID)
	}
	m, _ := c.Model("moonshotai/kimi-k2.6")
	alias, _ := c.ModelBytes([]byte("kimi-k2.6"))
	v, _ := c.Variant("auto-provider")
	vb, _ := c.VariantBytes([]byte("auto-provider"))
	e, _ := c.Engine("hyperframes")
	eb, _ := c.EngineBytes([]byte("hyperframes"))
	if m == nil || m != alias || v == nil || v != vb || e == nil || e != eb {
		t.Errorf("got %v %v %v %v %v %v", m, alias, v, vb, e, eb)
	}
	p, _ := c.Provider("together")
	equal(t, "OfferOf", m.OfferOf(p), m.Offers[1])
	local, _ := c.Provider("local")
	equal(t, "OfferOf", m.OfferOf(local), (*Offer)(nil))
}

// A provider's name may have letters outside ASCII; it matches in any case too.
func TestUnicodeNames(t *testing.T) {
	c := parse(t, `
providers: {aether: {endpoint: "https://a.example", name: ÆTHER Ltd}}
models: {m: {offers: [{provider: aether, model: m}]}}
`)
	if p, ok := c.ProviderBytes([]byte("æther LTD")); !ok || p.Slug != "aether" {
		t.Errorf("got %v", p)
	}
}

func TestParams(t *testing.T) {
	seen := ParamSet(0)
	for i, name := range CheckedParams.Names() {
		set, ok := Param(name)
		fromBytes, okBytes := ParamBytes([]byte(name))
		if !ok || !okBytes || set != fromBytes || set != 1<<i || seen.Has(set) {
			t.Errorf("%s: got %b, %b", name, set, fromBytes)
		}
		seen = seen.With(set)
	}
	equal(t, "all", seen, CheckedParams)
	for _, name := range append(uncheckedParams, "", "flux", "Tools") {
		if set, ok := Param(name); ok || set != 0 {
			t.Errorf("%q: got %b", name, set)
		}
	}
	tools, _ := Param("tools")
	seed, _ := Param("seed")
	equal(t, "without", tools.With(seed).Without(tools).Names(), []string{"seed"})
	equal(t, "empty", ParamSet(0).Names(), []string(nil))
}

func TestLookupsDoNotAllocate(t *testing.T) {
	c, _ := full(t)
	provider, id, variant, param := []byte("Together AI"), []byte("kimi-k2.6"), []byte("auto-provider"), []byte("response_format")
	m, _ := c.ModelBytes(id)
	p, _ := c.ProviderBytes(provider)
	var sink any
	n := testing.AllocsPerRun(100, func() {
		_, a := c.ProviderBytes(provider)
		_, b := c.ModelBytes(id)
		_, d := c.VariantBytes(variant)
		_, e := c.EngineBytes(variant)
		_, f := ParamBytes(param)
		if !a || !b || !d || e || !f || m.OfferOf(p) == nil || c.Routing.DialectFor("/api/v1/completions") != DialectPrefer {
			sink = m
		}
	})
	if n != 0 || sink != nil {
		t.Errorf("%v allocations", n)
	}
}
