package prefs

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/shunt-gateway/shunt/catalog"
)

// MaxBody is how large the body of a PATCH may be, in bytes: a document of the
// largest size, spaced out for people.
const MaxBody = 4 * MaxDocument

// The fields of a document in the API (PREF-2).
const (
	fieldPreferred = "preferredProviders"
	fieldExcluded  = "excludedProviders"
	fieldFallback  = "enableFallback"
	fieldModels    = "modelOverrides"
	fieldAvailable = "availableProviders"
)

// Patch returns current with the fields changed that raw, a PATCH's body, gives
// (PREF-2):
//
//   - a field that is not given stays as it is; null resets it to its default;
//   - a list replaces the list; a provider named twice counts once, where it stands
//     first;
//   - of modelOverrides, a model that is not given keeps its override; a model's
//     object replaces that model's whole override, and null, or an object without a
//     field, removes it; inside an override null is as if the field were absent.
//
// Providers and models may be given by any name of theirs that the catalog knows
// and are kept by slug and id. Nothing is changed if there is a problem.
func Patch(current Document, raw []byte, c *catalog.Catalog) (Document, *Problem) {
	// API-6: body over the limit 413 `request_too_large`.
	if len(raw) > MaxBody {
		return current, &Problem{Status: 413, Code: CodeTooLarge,
			Message: "the body has more than " + strconv.Itoa(MaxBody) + " bytes"}
	}
	// PREF-3: malformed: 422 `INVALID_INPUT`.
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return current, invalid("", "the body is not valid JSON")
	}
	p := patch{doc: current, catalog: c}
	if problem := p.object(raw); problem != nil {
		return current, problem
	}
	if problem := p.exclusions(); problem != nil {
		return current, problem
	}
	if n := len(p.doc.Encode()); n > MaxDocument {
		return current, invalid("", "the saved preferences would have %d bytes: the limit is %d", n, MaxDocument)
	}
	return p.doc, nil
}

// patch is one Patch under way.
type patch struct {
	doc     Document
	catalog *catalog.Catalog
	all     bool                    // exclusions may have changed for every model
	some    map[*catalog.Model]bool // … for these
}

func (p *patch) object(raw json.RawMessage) *Problem {
	fields, problem := members("", raw)
	if problem != nil {
		return problem
	}
	for _, f := range fields {
		switch f.key {
		case fieldPreferred:
			p.doc.Preferred, problem = p.providers(f.key, f.value)
			p.doc.Preferred = orNil(p.doc.Preferred)
		case fieldExcluded:
			p.doc.Excluded, problem = p.providers(f.key, f.value)
			p.doc.Excluded = orNil(p.doc.Excluded)
			p.all = true
		case fieldFallback:
			if p.doc.EnableFallback, problem = boolean(f.key, f.value); p.doc.EnableFallback != nil && *p.doc.EnableFallback {
				p.doc.EnableFallback = nil // the default, however it is said
			}
		case fieldModels:
			problem = p.models(f.value)
		case fieldAvailable:
			problem = invalid(f.key, "cannot be set: it says which providers there are")
		default:
			problem = unknownField("", f.key)
		}
		if problem != nil {
			return problem
		}
	}
	return nil
}

// orNil: at the top, no list and an empty one are the same.
func orNil(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

func unknownField(param, key string) *Problem {
	if param == "" {
		return invalid("", "unknown field %s: the fields are %s, %s, %s and %s", quote(key), fieldPreferred, fieldExcluded, fieldFallback, fieldModels)
	}
	return invalid(param, "has an unknown field %s: the fields are %s, %s and %s", quote(key), fieldPreferred, fieldExcluded, fieldFallback)
}

func (p *patch) models(raw json.RawMessage) *Problem {
	if isNull(raw) {
		p.doc.Models, p.all = nil, true
		return nil
	}
	given, problem := members(fieldModels, raw)
	if problem != nil || len(given) == 0 {
		return problem
	}
	models := maps.Clone(p.doc.Models)
	if models == nil {
		models = make(map[string]Override, len(given))
	}
	p.some = make(map[*catalog.Model]bool, len(given))
	for _, f := range given {
		// PREF-3: unknown provider or model: 422 too, named.
		m, ok := p.catalog.Model(f.key)
		if !ok {
			return invalid(fieldModels, "names an unknown model %s", quote(f.key))
		}
		if p.some[m] {
			return invalid(fieldModels, "names model %s twice, under two of its names", quote(m.ID))
		}
		p.some[m] = true
		o, problem := p.override(fieldModels+"["+quote(f.key)+"]", f.value)
		if problem != nil {
			return problem
		}
		// It may have been saved under an id that is an alias by now.
		maps.DeleteFunc(models, func(id string, _ Override) bool {
			old, _ := p.catalog.Model(id)
			return old == m
		})
		if !o.IsZero() {
			models[m.ID] = o
		}
	}
	if len(models) == 0 {
		models = nil
	}
	p.doc.Models = models
	return nil
}

func (p *patch) override(param string, raw json.RawMessage) (Override, *Problem) {
	var o Override
	if isNull(raw) {
		return o, nil
	}
	fields, problem := members(param, raw)
	if problem != nil {
		return o, problem
	}
	for _, f := range fields {
		at := param + "." + f.key
		switch f.key {
		case fieldPreferred:
			o.Preferred, problem = p.providers(at, f.value)
		case fieldExcluded:
			o.Excluded, problem = p.providers(at, f.value)
		case fieldFallback:
			o.EnableFallback, problem = boolean(at, f.value)
		default:
			problem = unknownField(param, f.key)
		}
		if problem != nil {
			return o, problem
		}
	}
	return o, nil
}

// providers reads a list of names; null is nil.
func (p *patch) providers(param string, raw json.RawMessage) ([]string, *Problem) {
	if isNull(raw) {
		return nil, nil
	}
	if raw[0] != '[' {
		return nil, invalid(param, "must be an array of provider ids")
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, invalid(param, "must be an array of provider ids")
	}
	slugs := make([]string, 0, len(items))
	seen := make(map[*catalog.Provider]bool, len(items))
	for i, item := range items {
		at := param + "[" + strconv.Itoa(i) + "]"
		var name string
		if item[0] != '"' || json.Unmarshal(item, &name) != nil {
			return nil, invalid(at, "must be a string")
		}
		// PREF-3: unknown provider or model: 422 too, named.
		provider, ok := p.catalog.Provider(name)
		if !ok {
			return nil, invalid(at, "names an unknown provider %s", quote(name))
		}
		if !seen[provider] {
			seen[provider] = true
			slugs = append(slugs, provider.Slug)
		}
	}
	return slices.Clip(slugs), nil
}

// boolean reads true or false; null is nil.
func boolean(param string, raw json.RawMessage) (*bool, *Problem) {
	switch {
	case isNull(raw):
		return nil, nil
	case raw[0] == 't':
		return new(true), nil
	case raw[0] == 'f':
		return new(false), nil
	}
	return nil, invalid(param, "must be true or false")
}

// isNull: raw is a JSON value without space around it.
func isNull(raw json.RawMessage) bool { return raw[0] == 'n' }

type member struct {
	key   string
	value json.RawMessage
}

// members returns an object's members in their order. raw is valid JSON. A key
// that comes twice is malformed: two readers must not see two objects (REQ-1).
func members(param string, raw json.RawMessage) ([]member, *Problem) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		if param == "" {
			return nil, invalid("", "the body must be a JSON object")
		}
		return nil, invalid(param, "must be an object")
	}
	var list []member
	seen := make(map[string]bool)
	for dec.More() {
		t, err := dec.Token()
		key, ok := t.(string)
		var value json.RawMessage
		if err != nil || !ok || dec.Decode(&value) != nil || len(value) == 0 {
			return nil, invalid(param, "is not valid JSON") // cannot be: it was checked
		}
		if seen[key] {
			if param == "" {
				return nil, invalid("", "the body has the field %s twice", quote(key))
			}
			return nil, invalid(param, "has the field %s twice", quote(key))
		}
		seen[key] = true
		list = append(list, member{key, value})
	}
	return list, nil
}
