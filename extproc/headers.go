package extproc

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/identity"
	"github.com/shunt-gateway/shunt/extproc/openai"
	"github.com/shunt-gateway/shunt/policy"
)

// headers are those of a request's that shunt reads.
type headers struct {
	path, query string
	id          string
	caller      identity.Caller
	explain     bool

	provider, variant, billingMode []string
	firstByte, timeout             []string
}

func readHeaders(h *extprocv3.HttpHeaders, id *identity.Reader) headers {
	list := h.GetHeaders().GetHeaders()
	out := headers{caller: id.Read(func(name string) []byte { return only(list, name) })}
	for _, v := range list {
		value := v.GetRawValue()
		switch v.GetKey() {
		case ":path":
			path, query, found := strings.Cut(string(value), "?")
			if out.path = path; found {
				out.query = "?" + query
			}
		case names.HeaderRequestID:
			out.id = string(value)
		case names.HeaderProvider:
			out.provider = append(out.provider, string(value))
		case names.HeaderVariant:
			out.variant = append(out.variant, string(value))
		case names.HeaderBillingMode:
			out.billingMode = append(out.billingMode, string(value))
		case names.HeaderFirstByte:
			out.firstByte = append(out.firstByte, string(value))
		case names.HeaderTimeout:
			out.timeout = append(out.timeout, string(value))
		case names.HeaderExplainAsked:
			out.explain = string(value) == "1"
		}
	}
	return out
}

// only is a header's value if it was sent once. Sent twice it says nothing: who
// reads the first and who reads the last would see two callers.
func only(list []*corev3.HeaderValue, name string) []byte {
	var value []byte
	for _, v := range list {
		if v.GetKey() != name {
			continue
		}
		if value != nil {
			return nil
		}
		value = v.GetRawValue()
	}
	return value
}

// input gathers what policy reads. Raw values are parts of the body.
func input(api catalog.API, h *headers, o *openai.Object) policy.Input {
	get := func(key string) []byte {
		v, _ := o.Get(key)
		return v
	}
	return policy.Input{
		API: api, Path: h.path,
		Model: get("model"), ModelID: get("model_id"), VariantID: get("variant_id"),
		Provider: get("provider"), Models: get("models"), Engine: get("engine"),
		Caching: get("caching"), StickyLower: get("stickyprovider"), StickyCamel: get("stickyProvider"),
		BillingMode: get("billing_mode"),
		Params:      params(o),
		XProvider:   h.provider, XVariantID: h.variant, XBillingMode: h.billingMode,
	}
}

// params are the capability-checked parameters that the request uses; null is not
// a use (SEL-7).
func params(o *openai.Object) catalog.ParamSet {
	var set catalog.ParamSet
	for m := range o.Members() {
		if p, ok := catalog.ParamBytes(m.Key); ok && openai.KindOf(o.Raw()[m.ValueStart:m.End]) != openai.Null {
			set |= p
		}
	}
	return set
}
