package policy

import (
	"bytes"
	"strings"

	"github.com/shunt-gateway/shunt/catalog"
)

// pinned is one input that names one provider (REQ-5).
type pinned struct {
	provider *catalog.Provider // nil: the catalog does not know it
	name     string            // as sent, quoted
	param    string
}

// readControls reads everything that selects providers and puts it together
// (REQ-3 … REQ-6, SEL-15).
func (r *Request) readControls(in *Input, ref *modelRef, c *catalog.Catalog) *Error {
	w, err := readWishes(in, c)
	if err != nil {
		return err
	}

	if !r.Model.ProviderSelection {
		if ref.suffix {
			return refuse(CodeSelectionUnsupported, r.modelParam, "model "+quote(r.Model.ID)+" has no provider selection: it takes no suffix")
		}
		r.wantCaching(ref) // all other preferences are ignored (REQ-4)
		return nil
	}
	for _, p := range ref.pins {
		w.pins = append(w.pins, pinned{p, quote(p.Slug), r.modelParam})
	}
	if err := r.combination(ref, &w); err != nil {
		return err
	}
	if w.unknownOnly != "" {
		return refuse(CodeUnknownProvider, "provider.only", "unknown provider in provider.only: "+w.unknownOnly)
	}
	cachingParam := r.controls.cachingParam
	switch {
	case w.chooses() || ref.sort != catalog.SortUnset:
		// request controls replace a variant's
		r.controls = w.object
		r.controls.dialect = c.Routing.DialectFor(in.Path)
		r.variantParam = ""
	case r.Variant != nil:
		r.controls = variantControls(r.Variant)
	}
	r.controls.cachingParam = cachingParam
	r.controls.suffix, r.controls.tools = ref.sort, ref.tools
	r.wantCaching(ref)
	return r.pin(w.pins)
}

// wantCaching takes the caching suffix (CACHE-1, CACHE-2).
func (r *Request) wantCaching(ref *modelRef) {
	if ref.caching && !r.Caching {
		r.Caching, r.controls.cachingParam = true, r.modelParam
	}
	r.WantsSticky = r.WantsSticky && r.Caching
}

// wishes are what a request says of providers, model string aside.
type wishes struct {
	object      controls
	unknownOnly string // the first name in only that the catalog does not know, quoted
	pins        []pinned
}

// chooses: there is a pin, or an object with a field set (REQ-6, last sentence).
func (w *wishes) chooses() bool { return len(w.pins) > 0 || w.object.object() }

// readWishes reads X-Provider, where empty is as if absent, and the body's
// provider: absent, a string (REQ-5) or an object (REQ-6).
func readWishes(in *Input, c *catalog.Catalog) (w wishes, err *Error) {
	for _, h := range in.XProvider {
		if h = strings.Trim(h, " \t"); h != "" {
			w.pins = append(w.pins, findPin(h, "X-Provider", c))
		}
	}
	raw := bytes.TrimSpace(in.Provider)
	switch {
	case len(raw) == 0:
	case raw[0] == '"':
		w.pins = append(w.pins, findPin(unquote(raw), "provider", c))
	case raw[0] == '{':
		w.object, w.unknownOnly, err = readObject(raw, c)
	default:
		err = refuse(CodeInvalidProvider, "provider", "provider must be a string or an object")
	}
	return w, err
}

func findPin(name, param string, c *catalog.Catalog) pinned {
	p, _ := c.Provider(name)
	return pinned{p, quote(name), param}
}

// combination is REQ-4 without the unsupported model.
func (r *Request) combination(ref *modelRef, w *wishes) *Error {
	wrong := func(message string) *Error { return refuse(CodeSuffixCombination, r.modelParam, message) }
	switch {
	case ref.sorts > 1:
		return wrong("the model has more than one preference suffix")
	case ref.sorts == 1 && ref.tools:
		return wrong("the suffix :tools cannot be combined with a preference suffix")
	case ref.sorts == 1 && w.chooses():
		return wrong("a preference suffix cannot be combined with a choice of provider")
	case ref.tools && (ref.caching || r.Caching):
		return wrong("the suffix :tools cannot be combined with caching")
	}
	return nil
}

// variantControls are a variant's provider config, as if a request had sent it in
// dialect exact (SEL-3, SEL-15).
func variantControls(v *catalog.Variant) controls {
	return controls{
		order: v.Order, hasOrder: len(v.Order) > 0, dialect: catalog.DialectExact,
		ignore: v.Ignore, hasIgnore: len(v.Ignore) > 0,
		sort:        v.Sort,
		noFallbacks: !v.AllowFallbacks, hasAllowFallbacks: !v.AllowFallbacks,
	}
}

// pin settles on the one provider that all of pins name (REQ-5), and checks that
// the provider object permits it.
func (r *Request) pin(pins []pinned) *Error {
	for _, p := range pins {
		if p.provider == nil {
			return refuse(CodeUnknownProvider, p.param, "unknown provider in "+p.param+": "+p.name)
		}
	}
	ctl := &r.controls
	for i, p := range pins {
		if i > 0 && p.provider != ctl.pin {
			return refuse(CodeProviderConflict, p.param, p.param+" names provider "+p.name+", "+
				pins[0].param+" names "+pins[0].name)
		}
		ctl.pin, ctl.pinParam = pins[0].provider, pins[0].param
	}
	against := ""
	switch {
	case ctl.pin == nil:
	case ctl.hasOnly && !contains(ctl.only, ctl.pin):
		against = "only"
	case ctl.exact() && !contains(ctl.order, ctl.pin):
		against = "order"
	case contains(ctl.ignore, ctl.pin):
		against = "ignore"
	}
	if against != "" {
		return refuse(CodeProviderConflict, "provider."+against,
			"provider."+against+" does not permit provider "+pins[0].name+", which "+pins[0].param+" names")
	}
	return nil
}
