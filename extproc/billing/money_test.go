package billing

import (
	"fmt"
	"math/big"
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/catalog"
)

func usage(prompt, completion, read, write, reasoning int64) Usage {
	return Usage{Known(prompt), Known(completion), Known(read), Known(write), Known(reasoning)}
}

// BILL-4, figure by figure.
func TestAmount(t *testing.T) {
	full := price("0.6", "2.5", "0.15", "0.75", "0")
	plain := price("0.6", "2.5", "", "", "0")
	tiered := price("1", "2", "", "", "0")
	tiered.Request = dec("0")
	tiered.Tiers = []catalog.Tier{{Above: 1000, Prompt: dec("7"), Completion: dec("4")}, {Above: 2000, Prompt: dec("10"), Completion: dec("5"), CacheRead: null("12.82")}}
	for _, c := range []struct {
		name   string
		price  *catalog.Price
		markup string
		usage  Usage
		want   string
	}{
		{"nothing", full, "0.05", usage(0, 0, 0, 0, 0), "0"},
		{"the figure of the docs", full, "0.05", usage(1000, 50, 400, 0, 0), "0.00057225"},
		{"no cache price: the prompt's", plain, "0", usage(1000, 0, 400, 100, 0), "0.0006"},
		{"cache write at its price", full, "0", usage(1000, 0, 0, 1000, 0), "0.00075"},
		{"free cache reads", price("1", "1", "0", "", "0"), "0", usage(1000, 0, 400, 0, 0), "0.0006"},
		{"reasoning is in the completion", full, "0", usage(0, 50, 0, 0, 50), "0.000125"},
		{"price per request", price("0", "0", "", "", "0.002"), "0.05", usage(0, 0, 0, 0, 0), "0.0021"},
		{"more cached than prompt", full, "0", usage(100, 0, 400, 0, 0), "0.000015"},
		{"cache parts overlap: reads first", full, "0", usage(100, 0, 60, 60, 0), "0.000039"},
		{"negative counts are none", full, "0", usage(-5, -5, -5, -5, -5), "0"},
		{"beyond belief", full, "0", usage(MaxTokens+1, 0, 0, 0, 0), "0"},
		{"at a tier's edge", tiered, "0", usage(1000, 10, 0, 0, 0), "0.00102"},
		{"above it: all of the request", tiered, "0", usage(1001, 10, 0, 0, 0), "0.007047"},
		{"of two tiers the last", tiered, "0.1", usage(2001, 0, 100, 0, 0), "0.0223212"},
		// One rounding, on the total, half even: 0.5e-9 down to 0, 1.5e-9 up to 2.
		{"half to even, down", price("0.0005", "0", "", "", "0"), "0", usage(1, 0, 0, 0, 0), "0"},
		{"half to even, up", price("0.0015", "0", "", "", "0"), "0", usage(1, 0, 0, 0, 0), "0.000000002"},
		{"just above half", price("0.00050001", "0", "", "", "0"), "0", usage(1, 0, 0, 0, 0), "0.000000001"},
		{"parts are not rounded", price("0.0004", "0.0004", "", "", "0"), "0", usage(1, 1, 0, 0, 0), "0.000000001"},
		{"18 decimals", price("0.123456789012345678", "0", "", "", "0"), "0.05", usage(1_000_000, 0, 0, 0, 0), "0.129629628"},
	} {
		if got := Amount(c.price, dec(c.markup), c.usage).String(); got != c.want {
			t.Errorf("BILL-4 %s: %s, want %s", c.name, got, c.want)
		}
	}
}

// ratAmount is BILL-4 again, in fractions, from the rule's text.
func ratAmount(p *catalog.Price, markup decimal.Decimal, u Usage) *big.Rat {
	for _, t := range p.Tiers { // the whole request at the last tier that it is above
		if u.Prompt.N > t.Above {
			p = &catalog.Price{Prompt: t.Prompt, Completion: t.Completion, CacheRead: t.CacheRead, CacheWrite: t.CacheWrite, Request: p.Request, Tiers: p.Tiers}
		}
	}
	rat := func(d decimal.Decimal) *big.Rat { return d.Rat() }
	cost := func(price *big.Rat, tokens int64) *big.Rat {
		return new(big.Rat).Mul(price, big.NewRat(tokens, 1_000_000))
	}
	read, write := rat(p.Prompt), rat(p.Prompt)
	if p.CacheRead.Valid {
		read = rat(p.CacheRead.Decimal)
	}
	if p.CacheWrite.Valid {
		write = rat(p.CacheWrite.Decimal)
	}
	sum := new(big.Rat).Set(rat(p.Request))
	for _, part := range []*big.Rat{
		cost(rat(p.Prompt), u.Prompt.N-u.CacheRead.N-u.CacheWrite.N),
		cost(read, u.CacheRead.N), cost(write, u.CacheWrite.N), cost(rat(p.Completion), u.Completion.N),
	} {
		sum.Add(sum, part)
	}
	sum.Mul(sum, new(big.Rat).Add(big.NewRat(1, 1), rat(markup)))

	scaled := new(big.Rat).Mul(sum, big.NewRat(1_000_000_000, 1))
	whole, rest := new(big.Int).QuoRem(scaled.Num(), scaled.Denom(), new(big.Int))
	switch rest.Lsh(rest, 1).Cmp(scaled.Denom()) {
	case 1:
		whole.Add(whole, big.NewInt(1))
	case 0:
		whole.Add(whole, big.NewInt(int64(whole.Bit(0))))
	}
	return new(big.Rat).SetFrac(whole, big.NewInt(1_000_000_000))
}

var (
	genDecimal = rapid.Custom(func(t *rapid.T) decimal.Decimal {
		return decimal.New(rapid.Int64Range(0, 1_000_000_000).Draw(t, "n"), -rapid.Int32Range(0, 18).Draw(t, "places"))
	})
	// Multiples of a half in the last place make ties likely.
	genTie = rapid.Custom(func(t *rapid.T) decimal.Decimal {
		return decimal.New(5*rapid.Int64Range(0, 50).Draw(t, "halves"), -4)
	})
	genNumber = rapid.OneOf(genDecimal, genTie)
	genNull   = rapid.Custom(func(t *rapid.T) decimal.NullDecimal {
		return decimal.NullDecimal{Decimal: genNumber.Draw(t, "d"), Valid: rapid.Bool().Draw(t, "set")}
	})
	genPrice = rapid.Custom(func(t *rapid.T) *catalog.Price {
		return &catalog.Price{
			Prompt: genNumber.Draw(t, "prompt"), Completion: genNumber.Draw(t, "completion"),
			CacheRead: genNull.Draw(t, "read"), CacheWrite: genNull.Draw(t, "write"), Request: genNumber.Draw(t, "request"),
			Tiers: genTiers.Draw(t, "tiers"),
		}
	})
	genTiers = rapid.Custom(func(t *rapid.T) (list []catalog.Tier) {
		above := int64(0)
		for range rapid.IntRange(0, 3).Draw(t, "tiers") {
			above += rapid.SampledFrom([]int64{1, 2, 400, 100_000}).Draw(t, "step")
			list = append(list, catalog.Tier{
				Above: above, Prompt: genNumber.Draw(t, "prompt"), Completion: genNumber.Draw(t, "completion"),
				CacheRead: genNull.Draw(t, "read"), CacheWrite: genNull.Draw(t, "write"),
			})
		}
		return list
	})
	genUsage = rapid.Custom(func(t *rapid.T) Usage {
		limit := rapid.SampledFrom([]int64{3, 1000, MaxTokens}).Draw(t, "limit")
		prompt := rapid.Int64Range(0, limit).Draw(t, "prompt")
		read := rapid.Int64Range(0, prompt).Draw(t, "read")
		write := rapid.Int64Range(0, prompt-read).Draw(t, "write")
		completion := rapid.Int64Range(0, limit).Draw(t, "completion")
		return usage(prompt, completion, read, write, rapid.Int64Range(0, completion).Draw(t, "reasoning"))
	})
)

// BILL-4: the amount is what fractions give, to the last digit.
func TestAmountAgainstFractions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, markup, u := genPrice.Draw(t, "price"), genNumber.Draw(t, "markup"), genUsage.Draw(t, "usage")
		got, want := Amount(p, markup, u), ratAmount(p, markup, u)
		if got.Rat().Cmp(want) != 0 {
			t.Fatalf("%s, want %s", got, want.FloatString(12))
		}
		if got.Exponent() < -moneyPlaces {
			t.Fatalf("%s has more than %d decimals", got, moneyPlaces)
		}
	})
}

// Whatever is reported, the parts fit their whole and the amount is not negative.
func TestSane(t *testing.T) {
	genInt := rapid.Custom(func(t *rapid.T) Int {
		return Int{N: rapid.Int64().Draw(t, "n"), Known: rapid.Bool().Draw(t, "known")}
	})
	rapid.Check(t, func(t *rapid.T) {
		raw := Usage{genInt.Draw(t, "p"), genInt.Draw(t, "c"), genInt.Draw(t, "r"), genInt.Draw(t, "w"), genInt.Draw(t, "re")}
		u := raw.sane()
		for _, n := range []int64{u.Prompt.N, u.Completion.N, u.CacheRead.N, u.CacheWrite.N, u.Reasoning.N} {
			if n < 0 || n > MaxTokens {
				t.Fatalf("%+v of %+v", u, raw)
			}
		}
		if u.CacheRead.N+u.CacheWrite.N > u.Prompt.N || u.Reasoning.N > u.Completion.N {
			t.Fatalf("%+v: parts above their whole", u)
		}
		if u.sane() != u {
			t.Fatalf("%+v becomes %+v the second time", u, u.sane())
		}
		if a := Amount(genPrice.Draw(t, "price"), decimal.Decimal{}, raw); a.IsNegative() {
			t.Fatalf("amount %s", a)
		}
	})
}

func BenchmarkAmount(b *testing.B) {
	p, markup, u := price("0.6", "2.5", "0.15", "0.75", "0"), dec("0.05"), usage(1000, 50, 400, 0, 7)
	b.ReportAllocs()
	for b.Loop() {
		Amount(p, markup, u)
	}
}

func ExampleAmount() {
	p := price("0.6", "2.5", "0.15", "", "0")
	fmt.Println(Amount(p, dec("0.05"), usage(1000, 50, 400, 0, 0)))
	// Output: 0.00057225
}
