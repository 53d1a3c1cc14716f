package billing

import (
	"github.com/shopspring/decimal"

	"github.com/shunt-gateway/shunt/catalog"
)

// Usage is what an answer cost in tokens, as OpenAI-style APIs count: Prompt holds
// all input, the tokens read from a cache and those written to one included;
// Completion holds all output, reasoning included. Envoy brings the usage of other
// APIs into the same form.
type Usage struct {
	Prompt     Int
	Completion Int
	CacheRead  Int // of Prompt
	CacheWrite Int // of Prompt
	Reasoning  Int // of Completion
}

// MaxTokens is the largest count that is believed, 1e9: two hundred times the
// largest context there is. A count above it is as good as none.
const MaxTokens = 1_000_000_000

// sane makes the counts fit each other: nothing below 0, parts within their whole,
// and the cache's parts together within the prompt (reads first). What cannot be
// believed becomes unknown.
func (u Usage) sane() Usage {
	u.Prompt, u.Completion = believed(u.Prompt), believed(u.Completion)
	u.CacheRead = within(believed(u.CacheRead), u.Prompt.N)
	u.CacheWrite = within(believed(u.CacheWrite), u.Prompt.N-u.CacheRead.N)
	u.Reasoning = within(believed(u.Reasoning), u.Completion.N)
	return u
}

func believed(i Int) Int {
	if !i.Known || i.N > MaxTokens {
		return Int{}
	}
	return Known(max(i.N, 0))
}

func within(i Int, whole int64) Int {
	if i.Known {
		i.N = min(i.N, whole)
	}
	return i
}

// perTokens is the exponent of the number of tokens that a price is for: 10^6.
const perTokens = 6

// moneyPlaces is how many decimals an amount has at most: 1e-9.
const moneyPlaces = 9

// Amount is what u costs at p, by the tier of its prompt tokens, with the markup on
// top (a factor: 0.05 for 5 %). u is taken as Settle takes it: parts within their
// whole.
//
// BILL-4: cached tokens are charged at their own price (the prompt price where none
// is set) and the rest at the prompt price; reasoning tokens are part of the
// completion. One rounding, to 1e-9, half even, on the total.
//
// 1,000 prompt tokens, 400 of them cached, and 50 completion tokens at prompt 0.6,
// cache_read 0.15, completion 2.5 with 5 %:
// (600×0.6 + 400×0.15 + 50×2.5)/1e6 × 1.05 = 0.00057225.
func Amount(p *catalog.Price, markup decimal.Decimal, u Usage) decimal.Decimal {
	u = u.sane()
	p = p.At(u.Prompt.N)
	plain := u.Prompt.N - u.CacheRead.N - u.CacheWrite.N
	sum := times(p.Prompt, plain).
		Add(times(orElse(p.CacheRead, p.Prompt), u.CacheRead.N)).
		Add(times(orElse(p.CacheWrite, p.Prompt), u.CacheWrite.N)).
		Add(times(p.Completion, u.Completion.N))
	total := sum.Shift(-perTokens).Add(p.Request)
	if !markup.IsZero() {
		total = total.Add(total.Mul(markup))
	}
	return total.RoundBank(moneyPlaces)
}

func times(price decimal.Decimal, tokens int64) decimal.Decimal {
	if tokens == 0 {
		return decimal.Decimal{}
	}
	return price.Mul(decimal.New(tokens, 0))
}

func orElse(p decimal.NullDecimal, other decimal.Decimal) decimal.Decimal {
	if p.Valid {
		return p.Decimal
	}
	return other
}
