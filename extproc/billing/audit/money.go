package audit

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

// places is how many decimals an amount has at most.
const places = 9

var plain = regexp.MustCompile(`^[0-9]{1,40}(\.[0-9]{1,40})?$`)

// rat reads a decimal without a sign or an exponent: 1e999999999 is a short text
// and a number that fills the memory.
func rat(s string) (*big.Rat, error) {
	if !plain.MatchString(s) {
		return nil, fmt.Errorf("%.48q is not a decimal of digits and a point", s)
	}
	r, _ := new(big.Rat).SetString(s)
	return r, nil
}

// round is r to 9 decimals, half to even.
func round(r *big.Rat) *big.Rat {
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(places), nil)
	scaled := new(big.Rat).Mul(r, new(big.Rat).SetInt(unit))
	whole, rest := new(big.Int).QuoRem(scaled.Num(), scaled.Denom(), new(big.Int))
	switch rest.Lsh(rest, 1).Cmp(scaled.Denom()) {
	case 1:
		whole.Add(whole, big.NewInt(1))
	case 0:
		if whole.Bit(0) == 1 {
			whole.Add(whole, big.NewInt(1))
		}
	}
	return new(big.Rat).SetFrac(whole, unit)
}

// Decimal is r with up to 9 decimals, without zeros at its end.
func Decimal(r *big.Rat) string {
	s := r.FloatString(places)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// figures are a price and a usage in fractions.
type figures struct {
	prompt, completion, read, write, request, markup *big.Rat

	plainTokens, readTokens, writeTokens, completionTokens int64
}

// figuresOf reads them off an event that has a price and counts.
func figuresOf(p *Price, u *Usage) (f figures, err error) {
	for _, x := range []struct {
		name string
		text string
		to   **big.Rat
	}{
		{"prompt", p.Prompt, &f.prompt}, {"completion", p.Completion, &f.completion},
		{"cache_read", orElse(p.CacheRead, p.Prompt), &f.read}, {"cache_write", orElse(p.CacheWrite, p.Prompt), &f.write},
		{"request", p.Request, &f.request}, {"markup", p.Markup, &f.markup},
	} {
		if *x.to, err = rat(x.text); err != nil {
			return f, fmt.Errorf("price.%s: %w", x.name, err)
		}
	}
	f.readTokens, f.writeTokens, f.completionTokens = count(u.CacheRead), count(u.CacheWrite), count(u.Completion)
	f.plainTokens = count(u.Prompt) - f.readTokens - f.writeTokens
	return f, nil
}

func orElse(s *string, other string) string {
	if s == nil {
		return other
	}
	return *s
}

func count(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// exact is the amount before it is rounded.
func (f *figures) exact() *big.Rat {
	sum := new(big.Rat)
	for _, part := range []struct {
		price  *big.Rat
		tokens int64
	}{{f.prompt, f.plainTokens}, {f.read, f.readTokens}, {f.write, f.writeTokens}, {f.completion, f.completionTokens}} {
		sum.Add(sum, new(big.Rat).Mul(part.price, big.NewRat(part.tokens, 1_000_000)))
	}
	sum.Add(sum, f.request)
	return sum.Mul(sum, new(big.Rat).Add(big.NewRat(1, 1), f.markup))
}
