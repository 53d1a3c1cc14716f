package policy

import (
	"math/bits"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"
)

// limit is a price cap of max_price, in USD per 1M tokens.
type limit struct {
	set       bool
	unlimited bool // so large that no price is over it
	max       decimal.Decimal
}

// Beyond these a cap is as good as none, or as zero. They keep a number such as
// 1e999999999 from becoming a billion digits.
const (
	hugePrice = 1e15
	tinyPrice = 1e-15
)

// newLimit reads a JSON number; ok is false for a negative one.
func newLimit(raw string) (l limit, ok bool) {
	mantissa, negative := strings.CutPrefix(raw, "-")
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		mantissa = mantissa[:i]
	}
	if negative && strings.ContainsAny(mantissa, "123456789") {
		return limit{}, false
	}
	f, err := strconv.ParseFloat(raw, 64) // out of range: ±Inf, or 0, which is what is wanted
	if err != nil && f == 0 {
		return limit{}, false
	}
	switch {
	case f >= hugePrice:
		return limit{set: true, unlimited: true}, true
	case f < tinyPrice:
		return limit{set: true}, true
	case len(raw) > maxQuoted: // more digits than a price can have: the nearest double will do
		return limit{set: true, max: decimal.NewFromFloat(f)}, true
	}
	d, err := decimal.NewFromString(raw)
	if err != nil {
		return limit{}, false
	}
	return limit{set: true, max: d}, true
}

// under reports whether price is within the cap.
func (l *limit) under(price decimal.Decimal) bool {
	return !l.set || l.unlimited || compare(price, l.max) <= 0
}

// compare is a.Cmp(b) without allocating for the numbers that prices are.
func compare(a, b decimal.Decimal) int {
	ea, eb := a.Exponent(), b.Exponent()
	switch {
	case ea == eb || !short(a) || !short(b):
		return a.Cmp(b)
	case ea < eb:
		return -compare(b, a)
	case ea-eb >= int32(len(pow10)):
		return a.Cmp(b)
	}
	hi, lo := bits.Mul64(uint64(a.CoefficientInt64()), pow10[ea-eb])
	cb := uint64(b.CoefficientInt64())
	switch {
	case hi > 0 || lo > cb:
		return 1
	case lo < cb:
		return -1
	}
	return 0
}

// short: the coefficient is not negative and fits an int64.
func short(d decimal.Decimal) bool { return d.NumDigits() <= 18 && !d.IsNegative() }

var pow10 = func() (p [20]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()
