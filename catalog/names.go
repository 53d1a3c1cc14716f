package catalog

import (
	"slices"
	"strings"
	"unicode"
)

const longestSlug = 64

// slugProblem says why s cannot be `:s` behind or `s/` before a model id; "" if
// it can (REQ-2).
func slugProblem(s string) string {
	outer := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	switch {
	case s == "":
		return "must not be empty"
	case len(s) > longestSlug:
		return "is longer than 64 characters"
	case strings.ContainsFunc(s, func(r rune) bool { return !isKeyRune(r) || unicode.IsUpper(r) }):
		return "may have only lower-case letters, digits and . _ - in it"
	case !outer(s[0]) || !outer(s[len(s)-1]):
		return "must begin and end with a letter or a digit"
	}
	return ""
}

// aliasProblem says why s cannot be another name of a provider; "" if it can. It may
// be written as people write names, but not so that `:s` or `s/` fall apart.
func aliasProblem(s string) string {
	switch {
	case strings.TrimSpace(s) == "":
		return "must not be empty"
	case len(s) > longestSlug:
		return "is longer than 64 characters"
	case strings.ContainsFunc(s, func(r rune) bool { return r == ':' || r == '/' || unicode.IsControl(r) }):
		return "must not have a colon, a slash or a control character in it"
	}
	return ""
}

// slugify returns s with the characters that a slug may not have replaced: what to
// write instead.
func slugify(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) {
		return ""
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, strings.ToLower(s))
	s = strings.Trim(s, "._-")
	if slugProblem(s) != "" {
		return ""
	}
	return s
}

// modelProblem says why s cannot be a model id, alias or variant name.
func modelProblem(s string) string {
	switch {
	case s == "":
		return "must not be empty"
	case len(s) > 256:
		return "is longer than 256 bytes"
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return "must not contain spaces or control characters"
	}
	return ""
}

// reservedHeaders carry something else already, or are shunt's own.
var reservedHeaders = []string{
	"host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection",
	"te", "upgrade", "accept", "accept-encoding", "retry-after",
	"x-provider", "x-attempts", "x-request-id", "x-variant-id", "x-billing-mode", "x-forwarded-for", "x-forwarded-proto",
}

// header returns a header's name in lower case. The value is not shown in
// faults: it stands beside a secret and might be one.
func (d *decoder) header(v value) (string, bool) {
	s, ok := d.text(v)
	if !ok {
		return "", false
	}
	s = strings.ToLower(s)
	switch {
	case s == "" || len(s) > 128 || !isToken(s):
		d.fault(v, "must be a header name: letters, digits, - and _")
	case slices.Contains(reservedHeaders, s):
		d.fault(v, "%s has a meaning already", quote(s))
	case strings.HasPrefix(s, "x-shunt-"), strings.HasPrefix(s, "x-envoy-"):
		d.fault(v, "headers that begin with %s are internal, and a client's are removed", s[:8])
	default:
		return s, true
	}
	return "", false
}

func isToken(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r == '.' || !isKeyRune(r) })
}

// choice is one of the words that a key takes.
type choice[T any] struct {
	name  string
	value T
}

func choiceNames[T any](choices []choice[T]) []string {
	names := make([]string, len(choices))
	for i, c := range choices {
		names[i] = c.name
	}
	return names
}

// choose returns what a word stands for.
func choose[T any](d *decoder, v value, choices []choice[T]) (T, bool) {
	var zero T
	s, ok := d.text(v)
	if !ok {
		return zero, false
	}
	for _, c := range choices {
		if c.name == s {
			return c.value, true
		}
	}
	names := choiceNames(choices)
	d.faultNear(v, d.nearest(s, names), "%s is not one of %s", quote(s), strings.Join(names, ", "))
	return zero, false
}

// distinct collects a list's elements, reporting those that come twice.
func distinct[T comparable](d *decoder, v value, element func(v value) (T, bool)) []T {
	var list []T
	seen := make(map[T]struct{})
	d.items(v, func(v value) {
		x, ok := element(v)
		if !ok {
			return
		}
		if _, twice := seen[x]; twice {
			d.fault(v, "is in this list twice")
			return
		}
		seen[x] = struct{}{}
		list = append(list, x)
	})
	return list
}
