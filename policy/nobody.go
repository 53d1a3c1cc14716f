package policy

import "github.com/shunt-gateway/shunt/catalog"

// nobody is the refusal when no offer can serve. The check that stopped the last
// offer left is the one to blame.
func (d *decider) nobody(m *catalog.Model, c *candidates) *Error {
	ctl := &d.req.controls
	model, api := quote(m.ID), d.req.API.String()
	if c.strict {
		return refuse(CodeNoFallbackAvailable, d.req.modelParam, "no preferred provider of "+model+" is available, and saved preferences turn fallback off")
	}
	blame := c.blame
	if d.req.Caching && (blame <= NotThisAPI || blame == Excluded || blame == NoCaching) && ctl.pin == nil {
		return noCaching(ctl, model)
	}
	na := func(param, message string) *Error { return refuse(CodeProviderNotAvailable, param, message) }
	switch blame {
	case NotPinned:
		return na(ctl.pinParam, "provider "+quote(ctl.pin.Slug)+" does not serve "+model+" on "+api)
	case NotInOnly:
		return na("provider.only", "no provider in provider.only serves "+model+" on "+api)
	case NotInOrder:
		return na(d.req.param("order"), "no provider in the order given serves "+model+" on "+api)
	case Ignored:
		return na(d.req.param("ignore"), "every provider that could serve "+model+" is ignored")
	case Excluded:
		return na(d.req.modelParam, "saved preferences exclude every provider that could serve "+model)
	case OverMaxPrice:
		return na("provider.max_price", "no provider serves "+model+" within provider.max_price")
	case LacksParameters:
		return na("provider.require_parameters", "no provider serves "+model+" with every parameter of the request")
	case NotThisEngine:
		return na("engine", "no provider serves "+model+" with engine "+quote(d.req.Engine.Name))
	case NoTools:
		return na(d.req.modelParam, "no provider serves "+model+" with tools")
	case NoCaching:
		return noCaching(ctl, model)
	case NotDefault:
		return na(d.req.modelParam, "no default provider of "+model+" can serve this request; name another one to use it")
	}
	param := d.req.modelParam
	if ctl.pin != nil {
		param = ctl.pinParam
	}
	return na(param, "no provider serves "+model+" on "+api)
}

func noCaching(ctl *controls, model string) *Error {
	return refuse(CodeNoCacheCapableProvider, ctl.cachingParam, "no cache-capable provider serves "+model)
}

// param names the input that a list of the controls came from.
func (r *Request) param(field string) string {
	if r.variantParam != "" {
		return r.variantParam
	}
	return "provider." + field
}
