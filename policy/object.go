package policy

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/shunt-gateway/shunt/catalog"
)

// maxRaw bounds the raw provider object and the raw models list, in bytes: what
// is over it is refused before anything looks inside.
const maxRaw = 64 << 10

// objectFields are the fields of REQ-6, in its order, and two more of OpenRouter's.
var objectFields = [...]string{"order", "only", "ignore", "sort", "max_price", "allow_fallbacks", "require_parameters",
	"preferred_max_latency", "preferred_min_throughput"}

var sortNames = map[string]catalog.Sort{
	"speed": catalog.SortSpeed, "throughput": catalog.SortThroughput, "latency": catalog.SortLatency,
	"price": catalog.SortPrice, "auto": catalog.SortNone, "none": catalog.SortNone, "default": catalog.SortNone,
}

// readObject is REQ-6. unknownOnly is the first name in only that the catalog
// does not know; whether that matters depends on the model (REQ-4).
func readObject(raw []byte, c *catalog.Catalog) (ctl controls, unknownOnly string, err *Error) {
	if len(raw) > maxRaw {
		return ctl, "", refuse(CodeInvalidProvider, "provider", "provider is larger than 64 KiB")
	}
	if !gjson.ValidBytes(raw) {
		return ctl, "", refuse(CodeInvalidJSON, "provider", "provider is not valid JSON")
	}
	seen := map[string]bool{}
	gjson.ParseBytes(raw).ForEach(func(k, v gjson.Result) bool {
		field := k.String()
		if seen[field] {
			err = refuse(CodeInvalidJSON, fieldParam(field), "duplicate key "+quote(field)+" in provider")
			return false
		}
		seen[field] = true
		param := "provider." + field
		switch field {
		case "order":
			ctl.order, ctl.hasOrder, _, err = readNames(v, param, c)
		case "ignore":
			ctl.ignore, ctl.hasIgnore, _, err = readNames(v, param, c)
		case "only":
			// an empty list is a limit too: nobody may serve
			ctl.only, _, unknownOnly, err = readNames(v, param, c)
			ctl.hasOnly = true
		case "sort":
			ctl.sort, err = readSort(v)
		case "max_price":
			err = ctl.readMaxPrice(v)
		case "allow_fallbacks":
			ctl.hasAllowFallbacks = true
			ctl.noFallbacks, err = readFlag(v, param, gjson.False)
		case "require_parameters":
			ctl.hasParameters = true
			ctl.parameters, err = readFlag(v, param, gjson.True)
		case "preferred_max_latency":
			err = ctl.readCutoff(v, param, "seconds", func(c *cutoffs) *cutoff { return &c.latency })
		case "preferred_min_throughput":
			err = ctl.readCutoff(v, param, "tokens per second", func(c *cutoffs) *cutoff { return &c.throughput })
		default:
			err = unknownField(field, "provider", objectFields[:])
		}
		return err == nil
	})
	return ctl, unknownOnly, err
}

func readNames(v gjson.Result, param string, c *catalog.Catalog) (ps []*catalog.Provider, given bool, unknown string, err *Error) {
	wrong := refuse(CodeInvalidProvider, param, param+" must be an array of strings")
	if !v.IsArray() {
		return nil, false, "", wrong
	}
	v.ForEach(func(_, e gjson.Result) bool {
		given = true
		if e.Type != gjson.String {
			err = wrong
			return false
		}
		p, ok := c.Provider(e.Str)
		switch {
		case !ok && unknown == "":
			unknown = quote(e.Str)
		case ok && !contains(ps, p):
			ps = append(ps, p)
		}
		return true
	})
	return ps, given, unknown, err
}

func readSort(v gjson.Result) (catalog.Sort, *Error) {
	s, ok := sortNames[v.Str]
	if v.Type != gjson.String || !ok {
		return catalog.SortUnset, refuse(CodeInvalidProvider, "provider.sort",
			"provider.sort must be one of speed, throughput, latency, price, auto, none, default")
	}
	return s, nil
}

// readFlag is true when v is the boolean want.
func readFlag(v gjson.Result, param string, want gjson.Type) (bool, *Error) {
	if !v.IsBool() {
		return false, refuse(CodeInvalidProvider, param, param+" must be a boolean")
	}
	return v.Type == want, nil
}

func (c *controls) readMaxPrice(v gjson.Result) (err *Error) {
	if !v.IsObject() {
		return refuse(CodeInvalidProvider, "provider.max_price", "provider.max_price must be an object with prompt, completion or both")
	}
	v.ForEach(func(k, v gjson.Result) bool {
		var to *limit
		switch k.String() {
		case "prompt":
			to = &c.maxPrompt
		case "completion":
			to = &c.maxCompletion
		default:
			err = unknownField(k.String(), "provider.max_price", []string{"prompt", "completion"})
			return false
		}
		param := "provider.max_price." + k.String()
		if to.set {
			err = refuse(CodeInvalidJSON, param, "duplicate key "+quote(k.String())+" in provider.max_price")
			return false
		}
		l, ok := newLimit(v.Raw)
		if v.Type != gjson.Number || !ok {
			err = refuse(CodeInvalidProvider, param, param+" must be a non-negative number (USD per 1M tokens)")
			return false
		}
		*to = l
		return true
	})
	return err
}

func unknownField(field, in string, fields []string) *Error {
	msg := "unknown field " + quote(field) + " in " + in
	if near := nearest(field, fields); near != "" {
		msg += "; did you mean " + quote(near) + "?"
	} else {
		msg += "; it has " + strings.Join(fields, ", ")
	}
	param := fieldParam(field)
	if in != "provider" && param != "provider" {
		param = in + "." + field
	}
	return refuse(CodeInvalidProvider, param, msg)
}

// fieldParam is provider.field, or provider alone where the field's name is not
// fit for a param.
func fieldParam(field string) string {
	if field == "" || len(field) > maxQuoted {
		return "provider"
	}
	for _, r := range field {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' {
			return "provider"
		}
	}
	return "provider." + field
}

// nearest is the field that s was probably meant to be; "" if none is near.
func nearest(s string, fields []string) string {
	best, at := "", 3
	if len(s) > maxQuoted {
		return ""
	}
	for _, f := range fields {
		if d := distance(strings.ToLower(s), f); d < at && d < len(f)/2+1 {
			best, at = f, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
