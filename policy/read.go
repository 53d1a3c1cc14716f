package policy

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/shunt-gateway/shunt/catalog"
)

// maxModels bounds the fallback models that a request may list.
const maxModels = 64

// Read checks an Input against a catalog. Rules: REQ-2 … REQ-7, SEL-15, and the
// unknown names of SEL-2 and SEL-13. What the catalog knows but cannot serve is
// Decide's to refuse.
func Read(in *Input, c *catalog.Catalog) (*Request, *Error) {
	r := &Request{API: in.API, Params: in.Params}
	ref, err := r.readNames(in, c)
	if err != nil {
		return nil, err
	}
	for _, step := range [...]func(*Input, *catalog.Catalog) *Error{
		r.readFlags, r.readFallbackModels, r.readEngine,
		func(in *Input, c *catalog.Catalog) *Error { return r.readControls(in, &ref, c) },
	} {
		if err := step(in, c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// readNames finds the model and the variant (REQ-2, SEL-15).
func (r *Request) readNames(in *Input, c *catalog.Catalog) (ref modelRef, err *Error) {
	named, param, err := modelString(in)
	if err != nil {
		return ref, err
	}
	if named != "" {
		if ref, err = readModel(named, param, c); err != nil {
			return ref, err
		}
	}
	v, variantParam, err := readVariant(in, ref.variant, param, c)
	if err != nil {
		return ref, err
	}
	switch {
	case named == "" && v == nil:
		return ref, refuse(CodeMissingModel, "model", "model is missing")
	case named == "":
		ref.model, named, param = v.Model, v.Name, variantParam
	}
	r.Model, r.Variant, r.Requested = ref.model, v, named
	if v != nil {
		r.variantParam = variantParam
	}
	r.modelParam = param
	return ref, nil
}

// modelString returns model or model_id, whichever is there, and its name; ""
// if neither is.
func modelString(in *Input) (s, param string, err *Error) {
	model, ok, err := readString(in.Model, "model")
	if err != nil {
		return "", "", err
	}
	id, okID, err := readString(in.ModelID, "model_id")
	switch {
	case err != nil:
		return "", "", err
	case ok && okID && model != id:
		return "", "", refuse(CodeInvalidParameter, "model_id", "model and model_id name different models: "+quote(model)+" and "+quote(id))
	case okID && !ok:
		return id, "model_id", nil
	}
	return model, "model", nil
}

// readVariant returns the one variant that model, variant_id and X-Variant-Id
// name, and the input that named it; nil if none of them does. v is what model,
// in param, named.
func readVariant(in *Input, v *catalog.Variant, param string, c *catalog.Catalog) (*catalog.Variant, string, *Error) {
	id, ok, err := readString(in.VariantID, "variant_id")
	if err != nil {
		return nil, "", err
	}
	name := func(s, from string) *Error {
		found, ok := c.Variant(s)
		switch {
		case !ok:
			return refuse(CodeModelNotFound, from, "unknown variant "+quote(s))
		case v != nil && v != found:
			return refuse(CodeInvalidParameter, from, fmt.Sprintf("%s and %s name different variants: %s and %s",
				param, from, quote(v.Name), quote(found.Name)))
		}
		v, param = found, from
		return nil
	}
	if ok {
		if err := name(id, "variant_id"); err != nil {
			return nil, "", err
		}
	}
	for _, h := range in.XVariantID {
		if h = strings.Trim(h, " \t"); h == "" {
			continue
		}
		if err := name(h, "X-Variant-Id"); err != nil {
			return nil, "", err
		}
	}
	return v, param, nil
}

// readFlags is REQ-7 without models, and where caching comes from a field.
func (r *Request) readFlags(in *Input, _ *catalog.Catalog) *Error {
	caching, _, err := readBool(in.Caching, "caching")
	if err != nil {
		return err
	}
	if caching {
		r.Caching, r.controls.cachingParam = true, "caching"
	}
	lower, okLower, err := readBool(in.StickyLower, "stickyprovider")
	if err != nil {
		return err
	}
	camel, okCamel, err := readBool(in.StickyCamel, "stickyProvider")
	if err != nil {
		return err
	}
	if okLower && okCamel && lower != camel {
		return refuse(CodeInvalidParameter, "stickyProvider", "stickyprovider and stickyProvider differ")
	}
	r.WantsSticky = (!okLower || lower) && (!okCamel || camel)
	return r.readBillingMode(in)
}

func (r *Request) readBillingMode(in *Input) *Error {
	if raw := bytes.TrimSpace(in.BillingMode); len(raw) > 0 {
		if raw[0] != '"' || unquote(raw) != "paygo" {
			return refuse(CodeInvalidParameter, "billing_mode", `billing_mode must be "paygo"`)
		}
		r.Paygo = true
	}
	for _, h := range in.XBillingMode {
		h = strings.Trim(h, " \t")
		if h != "" && !strings.EqualFold(h, "paygo") {
			return refuse(CodeInvalidParameter, "X-Billing-Mode", "X-Billing-Mode must be paygo")
		}
		r.Paygo = r.Paygo || h != ""
	}
	return nil
}

// readFallbackModels is REQ-7's models, else the variant's (SEL-14).
func (r *Request) readFallbackModels(in *Input, c *catalog.Catalog) (err *Error) {
	raw := bytes.TrimSpace(in.Models)
	if len(raw) == 0 {
		if r.Variant != nil {
			for _, m := range r.Variant.Models {
				r.addFallback(m)
			}
		}
		return nil
	}
	wrong := func(message string) *Error { return refuse(CodeInvalidParameter, "models", message) }
	switch {
	case len(raw) > maxRaw:
		return wrong("models is larger than 64 KiB")
	case raw[0] != '[' || !gjson.ValidBytes(raw):
		return wrong("models must be an array of known models")
	}
	n := 0
	gjson.ParseBytes(raw).ForEach(func(_, e gjson.Result) bool {
		if n++; n > maxModels {
			err = wrong(fmt.Sprintf("models lists more than %d models", maxModels))
			return false
		}
		m, ok := c.Model(e.Str)
		switch {
		case e.Type != gjson.String:
			err = wrong("models must be an array of strings")
			return false
		case !ok:
			err = wrong("unknown model in models: " + quote(e.Str))
			return false
		}
		r.addFallback(m)
		return true
	})
	return err
}

func (r *Request) addFallback(m *catalog.Model) {
	if m == r.Model {
		return
	}
	for _, have := range r.Models {
		if have == m {
			return
		}
	}
	r.Models = append(r.Models, m)
}

// readEngine is SEL-13; other APIs than /responses have no engine.
func (r *Request) readEngine(in *Input, c *catalog.Catalog) *Error {
	if in.API != catalog.Responses {
		return nil
	}
	s, ok, err := readString(in.Engine, "engine")
	if err != nil || !ok {
		return err
	}
	if r.Engine, ok = c.Engine(s); !ok {
		return refuse(CodeUnknownEngine, "engine", "unknown engine "+quote(s))
	}
	return nil
}
