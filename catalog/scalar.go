package catalog

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/shopspring/decimal"
	"go.yaml.in/yaml/v3"
)

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// describe names a node's type as a person would.
func describe(n *yaml.Node) string {
	if s, ok := tagNames[n.Tag]; ok {
		return s
	}
	return "a value with a tag of its own"
}

var tagNames = map[string]string{
	"!!map": "a mapping", "!!seq": "a list",
	"!!str": "a string", "!!int": "a number", "!!float": "a number", "!!bool": "true or false",
	"!!timestamp": "a date", "!!null": "null", "!!merge": "a merge key",
}

var kindTags = map[yaml.Kind]string{yaml.MappingNode: "!!map", yaml.SequenceNode: "!!seq"}

// isA checks that v is a mapping or a list.
func (d *decoder) isA(v value, kind yaml.Kind) bool {
	if v.Kind == kind && v.Tag == kindTags[kind] {
		return true
	}
	want := tagNames[kindTags[kind]]
	hint := ""
	if kind == yaml.SequenceNode && v.Kind == yaml.ScalarNode {
		hint = ": put it in [ ]"
	}
	d.fault(v, "must be %s, not %s%s", want, describe(v.Node), hint)
	return false
}

// text returns a string that YAML reads as one.
func (d *decoder) text(v value) (string, bool) {
	if v.Kind == yaml.ScalarNode {
		switch v.Tag {
		case "!!str":
			return v.Value, true
		case "!!int", "!!float", "!!bool", "!!timestamp", "!!null", "!!merge":
			d.fault(v, "must be a string, not %s: quote it", describe(v.Node))
			return "", false
		}
	}
	d.fault(v, "must be a string, not %s", describe(v.Node))
	return "", false
}

// name returns a non-empty string for people to read, on one line.
func (d *decoder) name(v value) (string, bool) {
	s, ok := d.text(v)
	if !ok {
		return "", false
	}
	switch {
	case s == "":
		d.fault(v, "must not be empty")
	case len(s) > 256:
		d.fault(v, "has %d bytes: the limit is 256", len(s))
	case strings.TrimSpace(s) != s:
		d.fault(v, "must not begin or end with a space")
	case strings.ContainsFunc(s, unicode.IsControl):
		d.fault(v, "must not contain control characters")
	default:
		return s, true
	}
	return "", false
}

func (d *decoder) boolean(v value) bool {
	if v.Kind == yaml.ScalarNode && v.Tag == "!!bool" {
		switch strings.ToLower(v.Value) {
		case "true":
			return true
		case "false":
			return false
		}
	}
	hint := ""
	if v.Kind == yaml.ScalarNode && v.Tag == "!!str" {
		switch strings.ToLower(v.Value) {
		case "true", "false":
			hint = ": remove the quotes"
		}
	}
	d.fault(v, "must be true or false, not %s%s", describe(v.Node), hint)
	return false
}

// plain returns a scalar's text if its tag is one of tags.
func (d *decoder) plain(v value, want string, tags ...string) (string, bool) {
	if v.Kind == yaml.ScalarNode && slices.Contains(tags, v.Tag) {
		return v.Value, true
	}
	hint := ""
	if v.Kind == yaml.ScalarNode && v.Tag == "!!str" {
		if _, err := strconv.ParseFloat(v.Value, 64); err == nil {
			hint = ": remove the quotes"
		}
	}
	d.fault(v, "must be %s, not %s%s", want, describe(v.Node), hint)
	return "", false
}

// whole returns a whole number from 1 to hi.
func (d *decoder) whole(v value, hi int) (int, bool) {
	s, ok := d.plain(v, "a whole number", "!!int", "!!float")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > hi {
		d.fault(v, "%s is not a whole number from 1 to %d", quote(s), hi)
		return 0, false
	}
	return n, true
}

// Durations below a millisecond are zero to Envoy, which means "none" there.
const (
	shortest = time.Millisecond
	longest  = 24 * time.Hour
)

func (d *decoder) duration(v value, limit time.Duration) (time.Duration, bool) {
	s, ok := d.plain(v, "a duration such as 20s", "!!str", "!!int", "!!float")
	if !ok {
		return 0, false
	}
	if v.Tag != "!!str" {
		if strings.HasPrefix(s, "-") {
			d.fault(v, "%s is not positive, and has no unit", quote(s))
		} else {
			d.fault(v, "%s has no unit: write %ss", s, s)
		}
		return 0, false
	}
	t, err := time.ParseDuration(s)
	switch {
	case err != nil && isDigits(s):
		d.fault(v, "%s has no unit: write %ss", s, s)
	case err != nil:
		d.fault(v, "%s is not a duration such as 300ms, 20s or 1m30s", quote(s))
	case t <= 0:
		d.fault(v, "%s is not positive", quote(s))
	case t < shortest || t > limit:
		d.fault(v, "%s is not between %v and %vh", quote(s), shortest, limit.Hours())
	default:
		return t, true
	}
	return 0, false
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1},
}

// size returns a number of bytes from 1 to limit.
func (d *decoder) size(v value, limit int64) (int64, bool) {
	s, ok := d.plain(v, "a size such as 32MiB", "!!str", "!!int")
	if !ok {
		return 0, false
	}
	digits := s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
	unit := strings.TrimPrefix(s[len(digits):], " ")
	for _, u := range sizeUnits {
		if u.name != unit || digits == "" {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 1 || n > limit/u.bytes {
			d.fault(v, "%s is not between 1 and %d bytes", quote(s), limit)
			return 0, false
		}
		return n * u.bytes, true
	}
	suggestion := ""
	if digits != "" && unit != "" {
		for _, u := range sizeUnits {
			if strings.EqualFold(u.name, unit) || strings.EqualFold(u.name, unit+"iB") {
				suggestion = digits + u.name
				break
			}
		}
	}
	d.faultNear(v, suggestion, "%s is not a size such as 32MiB, 10MB or 1048576", quote(s))
	return 0, false
}

// amount returns an exact non-negative number, from the text as it stands in the
// file: a float would already have lost what BILL-4 promises.
func (d *decoder) amount(v value) (decimal.Decimal, bool) {
	s, ok := d.plain(v, "a number", "!!int", "!!float", "!!str")
	if !ok {
		return decimal.Decimal{}, false
	}
	if x, ok := d.prices[s]; ok {
		return x, true
	}
	x, err := parseAmount(s)
	if err != nil {
		d.fault(v, "%s %v", quote(s), err)
		return decimal.Decimal{}, false
	}
	d.prices[s] = x
	return x, true
}

// percent returns the factor that "5%" or 0.05 stands for.
func (d *decoder) percent(v value) (decimal.Decimal, bool) {
	s, ok := d.plain(v, "a percentage such as 5%", "!!int", "!!float", "!!str")
	if !ok {
		return decimal.Decimal{}, false
	}
	digits, isPercent := strings.CutSuffix(s, "%")
	x, err := parseAmount(strings.TrimSuffix(digits, " "))
	switch {
	case err != nil:
		d.fault(v, "%s %v", quote(s), err)
		return decimal.Decimal{}, false
	case isPercent:
		return x.Shift(-2), true
	case x.GreaterThanOrEqual(decimal.New(1, 0)):
		d.faultNear(v, s+"%", "%s would be %s%%", quote(s), x.Shift(2))
		return decimal.Decimal{}, false
	}
	return x, true
}

// float returns a positive number that needs no exactness.
func (d *decoder) float(v value, limit float64) (float64, bool) {
	s, ok := d.plain(v, "a number", "!!int", "!!float")
	if !ok {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f <= 0 || f > limit {
		d.fault(v, "%s is not a number above 0 and at most %g", quote(s), limit)
		return 0, false
	}
	return f, true
}

// What parseAmount keeps to: 1e999999999 is a short text and a number that
// would fill the memory as soon as it is added to another.
const (
	maxWhole    = 12 // digits before the point
	maxFraction = 18 // digits behind it
)

var (
	errNotDecimal = errors.New("is not a decimal number such as 0.25")
	errNegative   = errors.New("is negative")
	errOctal      = errors.New("begins with a 0, which YAML may read as octal")
	errRange      = errors.New("has more than " + strconv.Itoa(maxWhole) + " digits before the point or " +
		strconv.Itoa(maxFraction) + " behind it")
)

// parseAmount reads digits, an optional fraction and an optional exponent.
func parseAmount(s string) (decimal.Decimal, error) {
	if strings.HasPrefix(s, "-") {
		return decimal.Decimal{}, errNegative
	}
	mantissa, exponent := strings.TrimPrefix(s, "+"), 0
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		e := mantissa[i+1:]
		if !isDigits(strings.TrimLeft(e[:min(1, len(e))], "+-") + e[min(1, len(e)):]) {
			return decimal.Decimal{}, errNotDecimal
		}
		if len(e) > 5 {
			return decimal.Decimal{}, errRange
		}
		exponent, _ = strconv.Atoi(e)
		mantissa = mantissa[:i]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	switch {
	case !isDigits(digits):
		return decimal.Decimal{}, errNotDecimal
	case len(whole) > 1 && whole[0] == '0':
		return decimal.Decimal{}, errOctal
	}
	exponent -= len(fraction)
	digits = strings.TrimLeft(digits, "0")
	if digits == "" {
		return decimal.Decimal{}, nil
	}
	trimmed := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(trimmed)
	if exponent < -maxFraction || len(trimmed)+exponent > maxWhole {
		return decimal.Decimal{}, errRange
	}
	return decimal.NewFromString(trimmed + "e" + strconv.Itoa(exponent))
}
