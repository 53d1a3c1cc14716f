package policy_test

import (
	"encoding/json"
	"math/big"
	"slices"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// This file decides a second time, from the rules and docs/selection.md: one rule
// after the other over lists of offers, without a thought for speed. It shares
// nothing with the package but the catalog's plain data.

// outcome is what a request comes to: a code, or a chain.
type outcome struct {
	code  string
	chain []string // provider@model
	kind  string
	paygo bool
}

func failed(code string) *outcome { return &outcome{code: code} }

type naive struct {
	w *world
	q *query

	model    *catalog.Model
	variant  *catalog.Variant
	models   []*catalog.Model
	engine   *catalog.Engine
	suffixes []string
	caching  bool
	pin      *catalog.Provider

	wishes wishes // the provider object that counts
	given  bool   // it sets at least one field
}

// wishes are a provider object. Pointers are nil where a field is not set.
type wishes struct {
	Order, Only, Ignore *[]string
	Sort                *string
	MaxPrice            map[string]json.Number `json:"max_price"`
	AllowFallbacks      *bool                  `json:"allow_fallbacks"`
	RequireParameters   *bool                  `json:"require_parameters"`
	Latency             figures                `json:"preferred_max_latency"`
	Throughput          figures                `json:"preferred_min_throughput"`
	exact               bool
	variants            bool // they are a variant\'s
}

func decideNaively(w *world, q *query) *outcome {
	n := &naive{w: w, q: q}
	for _, step := range []func() *outcome{n.readModel, n.readRest, n.readProvider} {
		if o := step(); o != nil {
			return o
		}
	}
	return n.decide()
}

func (n *naive) criterion() (string, bool) {
	if s := n.wishes.Sort; s != nil && *s != "auto" && *s != "none" && *s != "default" {
		return *s, true
	}
	return "", false
}

func (n *naive) preferenceSuffix() string {
	for _, s := range n.suffixes {
		if naiveSorts[s] != "" {
			return naiveSorts[s]
		}
	}
	return ""
}

// selects is BILL-2's explicit.
func (n *naive) selects() bool {
	w := n.wishes
	_, sorted := n.criterion()
	return n.pin != nil || w.Order != nil || w.Only != nil || w.Ignore != nil || len(w.MaxPrice) > 0 || sorted ||
		w.RequireParameters != nil && *w.RequireParameters || len(w.Latency)+len(w.Throughput) > 0
}

func (n *naive) bySuffix() bool {
	return n.preferenceSuffix() != "" || slices.Contains(n.suffixes, "tools")
}

// preferences returns what is saved for m, nil if nothing applies (PREF-4).
func (n *naive) preferences(m *catalog.Model) *prefs {
	if n.q.prefs == nil || !n.model.ProviderSelection {
		return nil
	}
	paygo := n.q.fields["billing_mode"] != "" || len(n.q.paygo) > 0
	if n.q.subscriber && !paygo && !n.selects() && !n.bySuffix() {
		return nil
	}
	p := *n.q.prefs
	if o, ok := p.models[m.ID]; ok {
		if o.preferred != nil {
			p.preferred = o.preferred
		}
		if o.excluded != nil {
			p.excluded = o.excluded
		}
		if o.fallback != nil {
			p.fallback = *o.fallback
		}
	}
	return &p
}

func (n *naive) one() bool {
	w := n.wishes
	return w.Order == nil && w.Only == nil && (w.Ignore != nil || len(w.MaxPrice) > 0)
}

func (n *naive) decide() *outcome {
	single := n.pin != nil || n.one() || n.wishes.AllowFallbacks != nil && !*n.wishes.AllowFallbacks
	chain, code := n.expand(n.model)
	if len(chain) == 0 && single {
		return failed(code)
	}
	// SEL-14
	type expansion struct {
		chain []*catalog.Offer
		best  *catalog.Offer
	}
	var others []expansion
	for _, m := range n.models {
		if c, _ := n.expand(m); len(c) > 0 {
			best := c[0]
			for _, o := range c {
				if n.better(o, best) {
					best = o
				}
			}
			others = append(others, expansion{c, best})
		}
	}
	for len(others) > 0 {
		first := 0
		for i := range others {
			if n.better(others[i].best, others[first].best) {
				first = i
			}
		}
		chain = append(chain, others[first].chain...)
		others = slices.Delete(others, first, first+1)
	}
	if len(chain) == 0 {
		return failed(code)
	}
	if single {
		chain = chain[:1]
	}
	if most := n.w.cat.Routing.MaxAttempts; len(chain) > most {
		chain = chain[:most]
	}
	return n.billed(chain)
}

func (n *naive) billed(chain []*catalog.Offer) *outcome {
	o := &outcome{kind: "default"}
	for _, offer := range chain {
		o.chain = append(o.chain, offer.Provider.Slug+"@"+offer.Model.ID)
		if p := n.preferences(offer.Model); p != nil && !n.given && slices.Contains(p.preferred, offer.Provider.Slug) {
			o.kind = "preference"
		}
	}
	switch {
	case n.selects():
		o.kind = "explicit"
	case n.bySuffix():
		o.kind = "suffix"
	case n.caching:
		o.kind = "caching"
	}
	paygo := n.q.fields["billing_mode"] != "" || len(n.q.paygo) > 0
	o.paygo = !n.q.subscriber || paygo || o.kind != "default" && o.kind != "caching"
	return o
}

// expand is a model's providers in order, or why there are none.
func (n *naive) expand(m *catalog.Model) ([]*catalog.Offer, string) {
	left, code := n.filter(m)
	saved := n.preferences(m)
	choosing := !n.selects() && !n.bySuffix() && !n.caching // saved preferences and defaults do
	strict := choosing && saved != nil && !n.given && !saved.fallback

	var chain []*catalog.Offer
	take := func(wanted func(o *catalog.Offer) bool) {
		for {
			var best *catalog.Offer
			for _, o := range left {
				if wanted(o) && (best == nil || n.better(o, best)) {
					best = o
				}
			}
			if best == nil {
				return
			}
			chain = append(chain, best)
			left = slices.DeleteFunc(left, func(o *catalog.Offer) bool { return o == best })
		}
	}
	provider := func(name string) func(*catalog.Offer) bool {
		return func(o *catalog.Offer) bool { return o.Provider == n.provider(name) }
	}
	if n.wishes.Order != nil {
		for _, name := range *n.wishes.Order {
			take(provider(name))
		}
	}
	if n.caching && n.flag("stickyprovider", true) && n.flag("stickyProvider", true) {
		take(func(o *catalog.Offer) bool { return o.Provider.Slug == n.q.sticky && !n.cooling(o) })
	}
	everyone := true
	if choosing {
		if saved != nil && !n.given {
			for _, name := range saved.preferred {
				take(provider(name))
			}
		}
		if everyone = !strict; everyone {
			if n.engine != nil {
				take(func(o *catalog.Offer) bool { return o.Provider == n.engine.DefaultProvider })
			}
			for _, p := range m.DefaultProviders {
				take(func(o *catalog.Offer) bool { return o.Provider == p })
				everyone = false
			}
		}
	}
	if everyone {
		take(func(*catalog.Offer) bool { return true })
	}
	// SEL-11
	var usable, cooling []*catalog.Offer
	for _, o := range chain {
		if n.cooling(o) {
			cooling = append(cooling, o)
		} else {
			usable = append(usable, o)
		}
	}
	if strict {
		code = "no_fallback_available"
	}
	return append(usable, cooling...), code
}

// filter returns the offers that may serve. code is what to answer when they, or
// those that the chain takes of them, are none.
func (n *naive) filter(m *catalog.Model) (left []*catalog.Offer, code string) {
	w := n.wishes
	saved := n.preferences(m)
	noCaching := func(code string) string {
		if n.caching && n.pin == nil {
			return "no_cache_capable_provider"
		}
		return code
	}
	const not = "provider_not_available"
	rules := []struct {
		code string
		keep func(o *catalog.Offer) bool
	}{
		{noCaching(not), func(o *catalog.Offer) bool { return o.Enabled && o.APIs.Has(n.q.api) }},
		{not, func(o *catalog.Offer) bool { return n.pin == nil || o.Provider == n.pin }},
		{not, func(o *catalog.Offer) bool { return w.Only == nil || n.lists(w.Only, o.Provider) }},
		{not, func(o *catalog.Offer) bool { return w.Order == nil || !w.exact || n.lists(w.Order, o.Provider) }},
		{not, func(o *catalog.Offer) bool { return !n.lists(w.Ignore, o.Provider) }},
		{noCaching(not), func(o *catalog.Offer) bool {
			named := !w.variants && (o.Provider == n.pin || n.lists(w.Only, o.Provider) || n.lists(w.Order, o.Provider))
			return saved == nil || named || !slices.Contains(saved.excluded, o.Provider.Slug)
		}},
		{not, n.affordable},
		{not, func(o *catalog.Offer) bool {
			return w.RequireParameters == nil || !*w.RequireParameters || n.understands(o)
		}},
		{not, func(o *catalog.Offer) bool { return n.engine == nil || slices.Contains(o.Engines, n.engine) }},
		{not, func(o *catalog.Offer) bool { return !slices.Contains(n.suffixes, "tools") || o.Tools }},
		{"no_cache_capable_provider", func(o *catalog.Offer) bool { return !n.caching || o.Caching }},
	}
	left = slices.Clone(m.Offers)
	for _, r := range rules {
		left = slices.DeleteFunc(left, func(o *catalog.Offer) bool { return !r.keep(o) })
		if len(left) == 0 {
			return nil, r.code
		}
	}
	return left, not
}

func (n *naive) understands(o *catalog.Offer) bool {
	for _, p := range n.q.params {
		if !slices.Contains(o.Parameters.Names(), p) {
			return false
		}
	}
	return true
}

// rational reads a number that may be far out of range.
func rational(s string) *big.Rat {
	switch s {
	case "1e400":
		s = "1e30"
	case "1e-400":
		s = "1e-30"
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		panic(s)
	}
	return r
}

func (n *naive) affordable(o *catalog.Offer) bool {
	if o.Price == nil {
		return true
	}
	prices := map[string]string{"prompt": o.Price.Prompt.String(), "completion": o.Price.Completion.String()}
	for what, limit := range n.wishes.MaxPrice {
		if rational(prices[what]).Cmp(rational(limit.String())) > 0 {
			return false
		}
	}
	return true
}

func (n *naive) health(o *catalog.Offer) policy.OfferHealth {
	if o.Index < len(n.w.health) {
		return n.w.health[o.Index]
	}
	return policy.OfferHealth{}
}

// cooling: without a random value nobody tries what has yet to prove itself.
func (n *naive) cooling(o *catalog.Offer) bool {
	h := n.health(o)
	return h.CoolingTill.After(noon) || h.ProbingTill.After(noon)
}
