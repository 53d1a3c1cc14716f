package policy

import (
	"strings"

	"github.com/shunt-gateway/shunt/catalog"
)

// maxModelString bounds what is taken apart, in bytes: an id, alias or variant of
// any length is found as a whole; only with suffixes or a prefix it is bounded.
const maxModelString = 1024

// modelRef is what a model string says.
type modelRef struct {
	model   *catalog.Model
	variant *catalog.Variant // nil: the string names no variant

	sort    catalog.Sort // preference suffix
	sorts   int          // how many of them
	tools   bool
	caching bool
	pins    []*catalog.Provider // by suffixes, then by the prefix
	suffix  bool                // at least one suffix of any sort
}

// sortSuffixes and the two below are REQ-3.
var sortSuffixes = map[string]catalog.Sort{
	"speed": catalog.SortSpeed, "fast": catalog.SortSpeed,
	"throughput": catalog.SortThroughput,
	"latency":    catalog.SortLatency,
	"price":      catalog.SortPrice, "cheap": catalog.SortPrice, "floor": catalog.SortPrice,
}

const toolsSuffix = "tools"

var cachingSuffixes = map[string]bool{"caching": true, "cache": true, "cached": true}

// readModel is REQ-2: an exact id, alias or variant; else suffixes off the right
// until the rest is known; else a provider's slug as prefix.
func readModel(s, param string, c *catalog.Catalog) (modelRef, *Error) {
	if ref, ok := known(s, c); ok {
		return ref, nil
	}
	if len(s) > maxModelString {
		return modelRef{}, modelNotFound(s, param)
	}
	ref, foreign := suffixed(s, c)
	if ref.model != nil && foreign == "" {
		return ref, nil
	}
	if slug, rest, ok := strings.Cut(s, "/"); ok && ref.model == nil {
		if p, ok := c.Provider(slug); ok && strings.EqualFold(p.Slug, slug) {
			if ref, ok = known(rest, c); !ok {
				ref, foreign = suffixed(rest, c)
			}
			ref.pins = append(ref.pins, p)
		}
	}
	switch {
	case ref.model == nil:
		return modelRef{}, modelNotFound(s, param)
	case foreign != "":
		return modelRef{}, refuse(CodeProviderNotAvailable, param,
			"provider "+quote(foreign)+" does not offer model "+quote(ref.model.ID))
	}
	return ref, nil
}

func modelNotFound(s, param string) *Error {
	return refuse(CodeModelNotFound, param, "unknown model "+quote(s))
}

// known looks s up as a whole.
func known(s string, c *catalog.Catalog) (modelRef, bool) {
	if m, ok := c.Model(s); ok {
		return modelRef{model: m}, true
	}
	if v, ok := c.Variant(s); ok {
		return modelRef{model: v.Model, variant: v}, true
	}
	return modelRef{}, false
}

// suffixed takes tokens off the right of s until the rest is known; the ref has
// no model when that fails. foreign is a token that names a provider which does
// not offer the model.
func suffixed(s string, c *catalog.Catalog) (ref modelRef, foreign string) {
	var tokens []string
	for rest := s; ; {
		i := strings.LastIndexByte(rest, ':')
		if i < 0 || !isToken(rest[i+1:], c) {
			return modelRef{}, ""
		}
		tokens = append(tokens, rest[i+1:])
		rest = rest[:i]
		ref, ok := known(rest, c)
		if !ok {
			continue
		}
		ref.suffix = true
		for _, token := range tokens {
			if !ref.take(strings.ToLower(token), c) {
				foreign = token
			}
		}
		if !ref.model.ProviderSelection {
			foreign = "" // REQ-4: it takes no suffix at all
		}
		return ref, foreign
	}
}

func isToken(token string, c *catalog.Catalog) bool {
	t := strings.ToLower(token)
	if _, ok := sortSuffixes[t]; ok || t == toolsSuffix || cachingSuffixes[t] {
		return true
	}
	_, ok := c.Provider(t)
	return ok
}

// take applies one token; it is false for a provider that does not offer the
// model.
func (r *modelRef) take(token string, c *catalog.Catalog) bool {
	if s, ok := sortSuffixes[token]; ok {
		r.sort = s
		r.sorts++
		return true
	}
	if token == toolsSuffix {
		r.tools = true
		return true
	}
	if cachingSuffixes[token] {
		r.caching = true
		return true
	}
	p, ok := c.Provider(token)
	if !ok || r.model.OfferOf(p) == nil {
		return false
	}
	r.pins = append(r.pins, p)
	return true
}
