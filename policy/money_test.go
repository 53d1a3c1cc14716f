package policy

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"
)

func TestCompareIsDecimalsOwn(t *testing.T) {
	draw := func(t *rapid.T) decimal.Decimal {
		return decimal.New(rapid.Int64().Draw(t, "coefficient"), rapid.Int32Range(-30, 30).Draw(t, "exponent"))
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t), draw(t)
		if rapid.Bool().Draw(t, "near") { // equal, or nearly so, in another spelling
			b = a.Mul(decimal.New(1000, 0)).Add(decimal.New(rapid.Int64Range(-1, 1).Draw(t, "by"), a.Exponent()-3)).Mul(decimal.New(1, -3))
		}
		if got, want := compare(a, b), a.Cmp(b); got != want {
			t.Fatalf("compare(%s, %s) = %d, want %d", a, b, got, want)
		}
	})
}

func TestCompareDoesNotAllocate(t *testing.T) {
	a, b := decimal.RequireFromString("0.50"), decimal.RequireFromString("2")
	if n := testing.AllocsPerRun(100, func() { compare(a, b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestLimits(t *testing.T) {
	under, over := true, false
	for _, c := range []struct {
		raw, price string
		want       bool
	}{
		{"0.5", "0.50", under}, {"0.5", "0.500000000000000001", over}, {"5e-1", "0.5", under}, {"0", "0", under}, {"-0", "0", under},
		{"-0.0e5", "0.1", over}, {"0", "0.000000001", over}, {"1e14", "99999999999999", under}, {"1e999999999", "1e14", under},
		{"1e-999999999", "0", under}, {"1e-999999999", "0.000001", over}, {"0e999999999", "0.1", over},
		{"0.30000000000000000000000000000000000000000000000000000000000000000000001", "0.3", under},
		{"123456789.123456789", "123456789.123456788", under},
	} {
		l, ok := newLimit(c.raw)
		if !ok || !l.set {
			t.Errorf("%s is refused", c.raw)
		} else if got := l.under(decimal.RequireFromString(c.price)); got != c.want {
			t.Errorf("price %s under the cap %s: %v", c.price, c.raw, got)
		}
	}
	for _, raw := range []string{"-1", "-1e-999999999", "-1e999999999", "", "x", "NaN"} {
		if _, ok := newLimit(raw); ok && raw != "NaN" {
			t.Errorf("%q is taken", raw)
		}
	}
}

func TestCompletionTime(t *testing.T) {
	if got := completion(300*time.Millisecond, 100); got != int64(5300*time.Millisecond) {
		t.Errorf("500 tokens at 100/s after 300ms: %v", time.Duration(got))
	}
	if completion(0, 100) != unmeasured || completion(1, 0) != unmeasured {
		t.Error("half of the figures are taken for the whole")
	}
	if got := completion(1, 1e-300); got != unmeasured-1 {
		t.Errorf("very slow is %d, must rank before unmeasured", got)
	}
}
