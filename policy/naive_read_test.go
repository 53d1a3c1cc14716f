package policy_test

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/shunt-gateway/shunt/catalog"
)

// The second implementation's reading of a request.

func (n *naive) text(field string) (string, bool) {
	var s string
	raw, ok := n.q.fields[field]
	if ok && json.Unmarshal([]byte(raw), &s) != nil {
		panic(raw)
	}
	return s, ok
}

func (n *naive) flag(field string, absent bool) bool {
	if raw, ok := n.q.fields[field]; ok {
		return raw == "true"
	}
	return absent
}

// parsed is one reading of a model string.
type parsed struct {
	model    *catalog.Model
	variant  *catalog.Variant
	suffixes []string
	pins     []string
}

func (n *naive) exact(s string) *parsed {
	for _, m := range n.w.cat.Models {
		if m.ID == s || slices.Contains(m.Aliases, s) {
			return &parsed{model: m}
		}
	}
	for _, v := range n.w.cat.Variants {
		if v.Name == s {
			return &parsed{model: v.Model, variant: v}
		}
	}
	return nil
}

func (n *naive) provider(name string) *catalog.Provider {
	for _, p := range n.w.cat.Providers {
		if strings.EqualFold(p.Slug, name) || strings.EqualFold(p.Name, name) ||
			slices.ContainsFunc(p.Aliases, func(a string) bool { return strings.EqualFold(a, name) }) {
			return p
		}
	}
	return nil
}

var (
	naiveSorts   = map[string]string{"speed": "speed", "fast": "speed", "throughput": "throughput", "latency": "latency", "price": "price", "cheap": "price", "floor": "price"}
	naiveCaching = []string{"caching", "cache", "cached"}
)

// suffixed is REQ-2's second way: the longest rest that is known.
func (n *naive) suffixed(s string) (*parsed, *outcome) {
	parts := strings.Split(s, ":")
	for i := len(parts) - 1; i > 0; i-- {
		p := n.exact(strings.Join(parts[:i], ":"))
		if p == nil {
			continue
		}
		foreign := false
		for _, token := range parts[i:] {
			token = strings.ToLower(token)
			switch provider := n.provider(token); {
			case naiveSorts[token] != "" || token == "tools" || slices.Contains(naiveCaching, token):
				p.suffixes = append(p.suffixes, token)
			case provider == nil:
				return nil, nil
			default:
				p.pins = append(p.pins, token)
				p.suffixes = append(p.suffixes, token)
				foreign = foreign || !slices.ContainsFunc(p.model.Offers, func(o *catalog.Offer) bool { return o.Provider == provider })
			}
		}
		if foreign && p.model.ProviderSelection {
			return nil, failed("provider_not_available")
		}
		return p, nil
	}
	return nil, nil
}

func (n *naive) readModel() *outcome {
	s, hasModel := n.text("model")
	id, hasID := n.text("model_id")
	if !hasModel {
		s = id
	}
	p := &parsed{}
	if hasModel || hasID {
		var bad *outcome
		if p = n.exact(s); p == nil {
			p, bad = n.suffixed(s)
		}
		if slug, rest, ok := strings.Cut(s, "/"); p == nil && bad == nil && ok {
			for _, known := range n.w.cat.Providers {
				if strings.EqualFold(known.Slug, slug) {
					if p = n.exact(rest); p == nil {
						p, bad = n.suffixed(rest)
					}
					if p != nil {
						p.pins = append(p.pins, slug)
					}
				}
			}
		}
		if bad != nil {
			return bad
		}
		if p == nil {
			return failed("model_not_found")
		}
	}
	n.model, n.variant, n.suffixes = p.model, p.variant, p.suffixes
	names := slices.Clone(n.q.headV)
	if v, ok := n.text("variant_id"); ok {
		names = append([]string{v}, names...)
	}
	for _, name := range names {
		var found *catalog.Variant
		for _, v := range n.w.cat.Variants {
			if v.Name == name {
				found = v
			}
		}
		if found == nil {
			return failed("model_not_found")
		}
		if n.variant != nil && n.variant != found {
			return failed("invalid_parameter")
		}
		n.variant = found
	}
	if n.model == nil && n.variant == nil {
		return failed("missing_model")
	}
	if n.model == nil {
		n.model = n.variant.Model
	}
	for _, name := range p.pins {
		n.q.pins = append(slices.Clone(n.q.pins), name) // no difference for what follows
	}
	return nil
}

func (n *naive) readRest() *outcome {
	n.caching = n.flag("caching", false) || slices.ContainsFunc(n.suffixes, func(s string) bool { return slices.Contains(naiveCaching, s) })
	lower, hasLower := n.q.fields["stickyprovider"]
	camel, hasCamel := n.q.fields["stickyProvider"]
	if hasLower && hasCamel && lower != camel {
		return failed("invalid_parameter")
	}
	if raw, ok := n.q.fields["models"]; ok {
		var ids []string
		if json.Unmarshal([]byte(raw), &ids) != nil {
			panic(raw)
		}
		for _, id := range ids {
			p := n.exact(id)
			if p == nil || p.variant != nil {
				return failed("invalid_parameter")
			}
			n.models = append(n.models, p.model)
		}
	} else if n.variant != nil {
		n.models = n.variant.Models
	}
	var distinct []*catalog.Model
	for _, m := range n.models {
		if m != n.model && !slices.Contains(distinct, m) {
			distinct = append(distinct, m)
		}
	}
	n.models = distinct
	if name, ok := n.text("engine"); ok && n.q.api == catalog.Responses {
		for _, e := range n.w.cat.Engines {
			if e.Name == name {
				n.engine = e
			}
		}
		if n.engine == nil {
			return failed("unknown_engine")
		}
	}
	return nil
}

func (n *naive) readProvider() *outcome {
	pins := slices.Clone(n.q.pins)
	var obj wishes
	if raw := n.q.fields["provider"]; strings.HasPrefix(raw, `"`) {
		s, _ := n.text("provider")
		pins = append(pins, s)
	} else if raw != "" && json.Unmarshal([]byte(raw), &obj) != nil {
		panic(raw)
	}
	set := obj.tidy()

	if !n.model.ProviderSelection { // REQ-4
		if len(n.suffixes) > 0 {
			return failed("provider_selection_unsupported")
		}
		return nil
	}
	// REQ-4: combinations
	preferences := 0
	tools := slices.Contains(n.suffixes, "tools")
	for _, s := range n.suffixes {
		if naiveSorts[s] != "" {
			preferences++
		}
	}
	if preferences > 1 || preferences == 1 && (tools || set || len(pins) > 0) || tools && n.caching {
		return failed("invalid_suffix_combination")
	}
	if obj.Only != nil {
		for _, name := range *obj.Only {
			if n.provider(name) == nil {
				return failed("provider_unknown_provider")
			}
		}
	}
	// SEL-15: the request's controls replace the variant's
	if n.wishes, n.given = obj, set; set {
		n.wishes.exact = n.dialect() == "exact"
	} else if n.variant != nil && len(pins) == 0 && preferences == 0 {
		n.wishes, n.given = variantWishes(n.variant)
	}
	return n.readPins(pins)
}

// tidy drops fields that set nothing and reports whether any is left (REQ-6).
func (o *wishes) tidy() bool {
	if o.Order != nil && len(*o.Order) == 0 {
		o.Order = nil
	}
	if o.Ignore != nil && len(*o.Ignore) == 0 {
		o.Ignore = nil
	}
	return o.Order != nil || o.Only != nil || o.Ignore != nil || o.Sort != nil || len(o.MaxPrice) > 0 ||
		o.AllowFallbacks != nil || o.RequireParameters != nil || len(o.Latency)+len(o.Throughput) > 0
}

func variantWishes(v *catalog.Variant) (o wishes, given bool) {
	slugs := func(ps []*catalog.Provider) *[]string {
		list := []string{}
		for _, p := range ps {
			list = append(list, p.Slug)
		}
		return &list
	}
	o = wishes{Order: slugs(v.Order), Ignore: slugs(v.Ignore), exact: true, variants: true}
	words := map[catalog.Sort]string{catalog.SortSpeed: "speed", catalog.SortThroughput: "throughput",
		catalog.SortLatency: "latency", catalog.SortPrice: "price", catalog.SortNone: "none"}
	if s, ok := words[v.Sort]; ok {
		o.Sort = &s
	}
	if !v.AllowFallbacks {
		o.AllowFallbacks = &v.AllowFallbacks
	}
	return o, o.tidy()
}

func (n *naive) dialect() string {
	path := strings.TrimPrefix(n.q.path, "/api")
	if d, ok := n.w.cat.Routing.Dialects[path]; ok {
		return map[catalog.Dialect]string{catalog.DialectExact: "exact", catalog.DialectPrefer: "prefer"}[d]
	}
	if path == "/v1/responses" {
		return "exact"
	}
	return "prefer"
}

// readPins is REQ-5.
func (n *naive) readPins(names []string) *outcome {
	for _, name := range names {
		if n.provider(name) == nil {
			return failed("provider_unknown_provider")
		}
	}
	for _, name := range names {
		p := n.provider(name)
		if n.pin != nil && n.pin != p {
			return failed("provider_conflict")
		}
		n.pin = p
	}
	w := n.wishes
	if n.pin != nil && (w.Only != nil && !n.lists(w.Only, n.pin) || w.Order != nil && w.exact && !n.lists(w.Order, n.pin) || n.lists(w.Ignore, n.pin)) {
		return failed("provider_conflict")
	}
	return nil
}

func (n *naive) lists(names *[]string, p *catalog.Provider) bool {
	return names != nil && slices.ContainsFunc(*names, func(s string) bool { return n.provider(s) == p })
}
