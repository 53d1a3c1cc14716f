package policy_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

var sortWords = []string{"speed", "throughput", "latency", "price", "auto", "none", "default"}

// query is a random request, its fields as JSON text; "" where absent.
type query struct {
	api    catalog.API
	path   string
	fields map[string]string
	pins   []string // X-Provider
	headV  []string // X-Variant-Id
	paygo  []string // X-Billing-Mode
	params []string

	subscriber bool
	sticky     string // slug
	prefs      *prefs
}

type prefs struct {
	preferred, excluded []string
	fallback            bool
	models              map[string]override
}

type override struct {
	preferred, excluded []string // nil: not overridden
	fallback            *bool
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func drawQuery(t *rapid.T, w *world) *query {
	q := &query{fields: map[string]string{}}
	q.api, q.path = catalog.Chat, pick(t, "path", []string{"/v1/chat/completions", "/api/v1/chat/completions", "/api/talk-to-gpt"})
	if chance(t, "responses", 35) {
		q.api, q.path = catalog.Responses, pick(t, "responses path", []string{"/v1/responses", "/api/v1/responses"})
	}
	if chance(t, "has model", 97) {
		q.fields[pick(t, "model field", []string{"model", "model", "model", "model_id"})] = toJSON(drawModelString(t, w))
	}
	if len(w.cat.Variants) > 0 && chance(t, "has variant", 15) || chance(t, "unknown variant", 2) {
		q.fields["variant_id"] = toJSON(pick(t, "variant", variants))
	}
	if len(w.cat.Variants) > 0 && chance(t, "has variant header", 5) {
		q.headV = []string{pick(t, "variant header", variants)}
	}
	names := append([]string{"Alpha-AI", "BETA Inc", "nobody"}, slugs...)
	switch number(t, "provider", 9) {
	case 0:
		q.fields["provider"] = toJSON(pick(t, "provider string", names))
	case 1, 2, 3, 4:
		q.fields["provider"] = drawObject(t, names)
	}
	if chance(t, "has X-Provider", 12) {
		q.pins = []string{pick(t, "X-Provider", names)}
	}
	if chance(t, "has models", 30) {
		ids := slices.Collect(maps.Keys(w.offers))
		slices.Sort(ids)
		if chance(t, "unknown models", 5) {
			ids = append([]string{"three-alias"}, modelIDs...)
		}
		q.fields["models"] = toJSON(some(t, "models", ids, 4))
	}
	if len(w.cat.Engines) > 0 && chance(t, "has engine", 60) || chance(t, "unknown engine", 3) {
		q.fields["engine"] = toJSON(pick(t, "engine", []string{"lottie", "lottie", "lottie", "lottie", "lottie", "vhs"}))
	}
	for _, f := range []string{"caching", "stickyprovider", "stickyProvider"} {
		if chance(t, "has "+f, 15) {
			q.fields[f] = toJSON(rapid.Bool().Draw(t, f))
		}
	}
	if chance(t, "billing mode", 10) {
		q.fields["billing_mode"] = `"paygo"`
	}
	if chance(t, "billing header", 10) {
		q.paygo = []string{"paygo"}
	}
	q.params = some(t, "params", params, 2)
	drawCaller(t, q)
	return q
}

func drawModelString(t *rapid.T, w *world) string {
	ids := append(append([]string{"unknown", "three-alias"}, modelIDs...), variants...)
	if chance(t, "known", 93) {
		ids = ids[:0]
		for _, m := range w.cat.Models {
			ids = append(append(ids, m.ID, m.ID), m.Aliases...)
		}
		for _, v := range w.cat.Variants {
			ids = append(ids, v.Name)
		}
	}
	s := pick(t, "id", ids)
	for range number(t, "tokens", 2) {
		if chance(t, "token", 30) {
			s += ":" + pick(t, "suffix", []string{"fast", "price", "throughput", "latency", "tools", "caching", "cached",
				"alpha", "Beta", "gamma-ai", "delta", "junk"})
		}
	}
	if chance(t, "prefix", 10) {
		s = pick(t, "slug", []string{"alpha", "beta", "gamma-ai", "nobody"}) + "/" + s
	}
	return s
}

func drawObject(t *rapid.T, names []string) string {
	var parts []string
	add := func(key string, percent int, value func() string) {
		if chance(t, "has "+key, percent) {
			parts = append(parts, `"`+key+`":`+value())
		}
	}
	list := func(most int) func() string {
		return func() string { return toJSON(some(t, "names", names, most)) }
	}
	add("order", 35, list(4))
	// unknown names in only are an error: rarely
	add("only", 25, func() string {
		from := slugs
		if chance(t, "odd names", 10) {
			from = names
		}
		return toJSON(some(t, "only", from, 4))
	})
	add("ignore", 25, list(2))
	add("sort", 35, func() string { return toJSON(pick(t, "sort", sortWords)) })
	add("max_price", 25, func() string {
		var caps []string
		for _, k := range []string{"prompt", "completion"} {
			if chance(t, "cap "+k, 60) {
				caps = append(caps, `"`+k+`":`+pick(t, "cap", []string{"0", "0.1", "1e-1", "0.2000", "0.25", "1", "1e400", "1e-400"}))
			}
		}
		return "{" + strings.Join(caps, ",") + "}"
	})
	add("allow_fallbacks", 20, func() string { return toJSON(rapid.Bool().Draw(t, "allow")) })
	add("require_parameters", 25, func() string { return toJSON(rapid.Bool().Draw(t, "require")) })
	add("preferred_max_latency", 20, func() string { return drawCutoff(t, []string{"0", "0.1", "2e-1", "0.25", "5"}) })
	add("preferred_min_throughput", 20, func() string { return drawCutoff(t, []string{"0", "10", "2e1", "50", "1e9"}) })
	return "{" + strings.Join(parts, ",") + "}"
}

func drawCutoff(t *rapid.T, values []string) string {
	if chance(t, "median", 50) {
		return pick(t, "cutoff", values)
	}
	var parts []string
	for _, p := range []string{"p50", "p75", "p90", "p99"} {
		if chance(t, p, 40) {
			parts = append(parts, `"`+p+`":`+pick(t, "cutoff", values))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func drawCaller(t *rapid.T, q *query) {
	q.subscriber = chance(t, "subscriber", 25)
	if chance(t, "sticky", 40) {
		q.sticky = pick(t, "sticky provider", slugs)
	}
	if !chance(t, "preferences", 35) {
		return
	}
	q.prefs = &prefs{
		preferred: some(t, "preferred", slugs, 3), excluded: some(t, "excluded", slugs, 2),
		fallback: chance(t, "fallback", 70), models: map[string]override{},
	}
	for _, id := range some(t, "overridden", modelIDs, 2) {
		var o override
		if chance(t, "override preferred", 50) {
			o.preferred = some(t, "preferred", slugs, 2)
		}
		if chance(t, "override excluded", 50) {
			o.excluded = some(t, "excluded", slugs, 2)
		}
		if chance(t, "override fallback", 50) {
			on := rapid.Bool().Draw(t, "fallback")
			o.fallback = &on
		}
		q.prefs.models[id] = o
	}
}

// input is q as the filter reads it.
func (q *query) input() *policy.Input {
	raw := func(key string) []byte {
		if v, ok := q.fields[key]; ok {
			return []byte(v)
		}
		return nil
	}
	in := &policy.Input{
		API: q.api, Path: q.path,
		Model: raw("model"), ModelID: raw("model_id"), VariantID: raw("variant_id"),
		Provider: raw("provider"), Models: raw("models"), Engine: raw("engine"),
		Caching: raw("caching"), StickyLower: raw("stickyprovider"), StickyCamel: raw("stickyProvider"),
		BillingMode: raw("billing_mode"),
		XProvider:   q.pins, XVariantID: q.headV, XBillingMode: q.paygo,
	}
	for _, p := range q.params {
		set, _ := catalog.Param(p)
		in.Params |= set
	}
	return in
}

// apply adds to r what the caller knows.
func (q *query) apply(r *policy.Request, c *catalog.Catalog) {
	r.Subscriber = q.subscriber
	if r.WantsSticky {
		r.Sticky, _ = c.Provider(q.sticky)
	}
	if q.prefs == nil {
		return
	}
	resolve := func(slugs []string) []*catalog.Provider {
		if slugs == nil {
			return nil
		}
		list := []*catalog.Provider{}
		for _, s := range slugs {
			if p, ok := c.Provider(s); ok {
				list = append(list, p)
			}
		}
		return list
	}
	r.Preferences = &policy.Preferences{
		Preferred: resolve(q.prefs.preferred), Excluded: resolve(q.prefs.excluded), EnableFallback: q.prefs.fallback,
		Models: map[*catalog.Model]policy.Override{},
	}
	for id, o := range q.prefs.models {
		if m, ok := c.Model(id); ok {
			r.Preferences.Models[m] = policy.Override{Preferred: resolve(o.preferred), Excluded: resolve(o.excluded), EnableFallback: o.fallback}
		}
	}
}
