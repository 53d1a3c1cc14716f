package policy

import "github.com/shunt-gateway/shunt/catalog"

// Request is an Input that made sense: every name resolved against one catalog.
// Read makes one; the caller adds what it knows of the person asking.
type Request struct {
	API       catalog.API
	Model     *catalog.Model   // the primary model
	Variant   *catalog.Variant // nil: none was named
	Requested string           // what the client asked for, as it wrote it; a variant's name if it wrote no model
	Models    []*catalog.Model // fallback models (SEL-14): distinct, Model not among them
	Engine    *catalog.Engine  // nil: none
	Params    catalog.ParamSet
	Caching   bool // CACHE-1
	Paygo     bool // REQ-7: billing mode paygo was asked for

	// WantsSticky: the caller looks for the provider of the last matching request
	// and puts it into Sticky (CACHE-2). Only ever true with Caching.
	WantsSticky bool

	Sticky      *catalog.Provider // nil: none recorded
	Preferences *Preferences      // nil: none saved
	Subscriber  bool              // ID-1: the caller has a subscription

	controls     controls
	modelParam   string // the input that named the model: model, model_id or one that named a variant
	variantParam string // the input that named the variant whose controls these are; "" if they are the request's
}

// Preferences are what a user saved, resolved against the request's catalog
// (PREF-2).
type Preferences struct {
	Preferred      []*catalog.Provider
	Excluded       []*catalog.Provider
	EnableFallback bool
	Models         map[*catalog.Model]Override
}

// Override replaces, for one model, those fields of Preferences that are not nil.
type Override struct {
	Preferred      []*catalog.Provider // empty, not nil: no preference for this model
	Excluded       []*catalog.Provider
	EnableFallback *bool
}

// For returns what holds for m; its Models is nil.
func (p *Preferences) For(m *catalog.Model) Preferences {
	eff := Preferences{Preferred: p.Preferred, Excluded: p.Excluded, EnableFallback: p.EnableFallback}
	o, ok := p.Models[m]
	if !ok {
		return eff
	}
	if o.Preferred != nil {
		eff.Preferred = o.Preferred
	}
	if o.Excluded != nil {
		eff.Excluded = o.Excluded
	}
	if o.EnableFallback != nil {
		eff.EnableFallback = *o.EnableFallback
	}
	return eff
}

// controls are a request's own wishes about providers, or a variant's. Names
// that the catalog does not know are gone; that something was given stays known,
// because a list of unknown names still is a list.
type controls struct {
	pin      *catalog.Provider // REQ-5
	pinParam string            // the input that named it

	order, only, ignore          []*catalog.Provider
	hasOrder, hasOnly, hasIgnore bool
	dialect                      catalog.Dialect // of order

	sort              catalog.Sort // SortUnset: not given; SortNone: SEL-1's auto, none, default
	maxPrompt         limit
	maxCompletion     limit
	noFallbacks       bool // allow_fallbacks: false
	hasAllowFallbacks bool
	parameters        bool // require_parameters: true
	hasParameters     bool
	cutoffs           *cutoffs // nil: none given

	suffix catalog.Sort // preference suffix; SortUnset: none
	tools  bool         // :tools

	cachingParam string // the input that asked for caching
}

// capped: max_price names at least one cap.
func (c *controls) capped() bool { return c.maxPrompt.set || c.maxCompletion.set }

// object: a provider object set at least one field (REQ-6, last sentence).
func (c *controls) object() bool {
	return c.hasOrder || c.hasOnly || c.hasIgnore || c.capped() || c.sort != catalog.SortUnset ||
		c.hasAllowFallbacks || c.hasParameters || c.cutoffs != nil
}

// explicit: the request selects or constrains providers (SEL-1, BILL-2). Turning
// fallbacks on or off, or asking for no sort, does neither.
func (c *controls) explicit() bool {
	return c.pin != nil || c.hasOrder || c.hasOnly || c.hasIgnore || c.capped() || c.parameters ||
		criterion(c.sort) || c.cutoffs != nil
}

// one: the controls resolve to one concrete provider (SEL-6).
func (c *controls) one() bool {
	return (c.hasIgnore || c.capped()) && !c.hasOrder && !c.hasOnly
}

// exact: only what order lists may serve (SEL-3).
func (c *controls) exact() bool { return c.hasOrder && c.dialect == catalog.DialectExact }

// names: the request itself names p (PREF-5). A variant's order is not the
// request's.
func (r *Request) names(p *catalog.Provider) bool {
	c := &r.controls
	return r.variantParam == "" && (c.pin == p || contains(c.order, p) || contains(c.only, p))
}

// criterion: s ranks offers.
func criterion(s catalog.Sort) bool { return s != catalog.SortUnset && s != catalog.SortNone }

func contains(list []*catalog.Provider, p *catalog.Provider) bool { return indexOf(list, p) >= 0 }

func indexOf(list []*catalog.Provider, p *catalog.Provider) int {
	for i, q := range list {
		if q == p {
			return i
		}
	}
	return -1
}
