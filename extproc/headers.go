package extproc

import (
	"bytes"
	"strings"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/openai"
	"github.com/shunt-gateway/shunt/policy"
)

// headers are those of a request's that shunt reads.
type headers struct {
	path, query string
	id          string
	apiKey      []byte
	explain     bool

	provider, variant, billingMode []string
}

func readHeaders(h *extprocv3.HttpHeaders, c *catalog.Catalog) headers {
	var out headers
	for _, v := range h.GetHeaders().GetHeaders() {
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
		case names.HeaderExplainAsked:
			out.explain = string(value) == "1"
		case c.Identity.APIKeyHeader:
			out.apiKey = bearer(value)
		}
	}
	return out
}

// bearer takes the scheme off an authorization value; other headers hold the bare
// key.
func bearer(value []byte) []byte {
	const scheme = "bearer "
	if len(value) > len(scheme) && strings.EqualFold(string(value[:len(scheme)]), scheme) {
		value = value[len(scheme):]
	}
	return bytes.TrimSpace(value)
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
