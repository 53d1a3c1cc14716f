package catalog

import (
	"github.com/shopspring/decimal"
)

var (
	priceKeys = newKeys("prompt!", "completion!", "cache_read", "cache_write", "request", "tiers")
	tierKeys  = newKeys("above!", "prompt!", "completion!", "cache_read", "cache_write")
)

const (
	mostTiers = 8
	// mostAbove is the largest context that a tier may begin at.
	mostAbove = 1_000_000_000
)

func (d *decoder) price(v value) *Price {
	p := &Price{}
	var tiers value
	ok := d.object(v, priceKeys, func(key string, v value) {
		if key == "tiers" {
			tiers = v // after the cache prices
			return
		}
		x, ok := d.amount(v)
		if !ok {
			return
		}
		switch key {
		case "prompt":
			p.Prompt = x
		case "completion":
			p.Completion = x
		case "cache_read":
			p.CacheRead = decimal.NewNullDecimal(x)
		case "cache_write":
			p.CacheWrite = decimal.NewNullDecimal(x)
		case "request":
			p.Request = x
		}
	})
	if !ok {
		return nil
	}
	if tiers.Node != nil {
		d.tiers(tiers, p)
	}
	return p
}

func (d *decoder) tiers(v value, p *Price) {
	ok := d.items(v, func(v value) {
		t, ok := d.tier(v, p)
		if !ok {
			return
		}
		if n := len(p.Tiers); n > 0 && t.Above <= p.Tiers[n-1].Above {
			d.fault(v, "begins above %d tokens, not above the %d of the tier before it: sort them", t.Above, p.Tiers[n-1].Above)
			return
		}
		p.Tiers = append(p.Tiers, t)
	})
	switch n := len(v.Content); {
	case !ok:
	case n == 0:
		d.fault(v, "must not be empty")
	case n > mostTiers:
		d.fault(v, "has %d tiers: the limit is %d", n, mostTiers)
	}
}

// tier reads one. A cache price that the price itself sets must be set in the tier
// too: whether it would stay or become the prompt's is anyone's guess.
func (d *decoder) tier(v value, p *Price) (Tier, bool) {
	var t Tier
	whole := true
	ok := d.object(v, tierKeys, func(key string, v value) {
		if key == "above" {
			n, ok := d.whole(v, mostAbove)
			t.Above, whole = int64(n), whole && ok
			return
		}
		x, ok := d.amount(v)
		whole = whole && ok
		switch key {
		case "prompt":
			t.Prompt = x
		case "completion":
			t.Completion = x
		case "cache_read":
			t.CacheRead = decimal.NewNullDecimal(x)
		case "cache_write":
			t.CacheWrite = decimal.NewNullDecimal(x)
		}
	})
	if !ok || !whole {
		return Tier{}, false
	}
	for _, c := range []struct {
		key  string
		base decimal.NullDecimal
		tier decimal.NullDecimal
	}{{"cache_read", p.CacheRead, t.CacheRead}, {"cache_write", p.CacheWrite, t.CacheWrite}} {
		if c.base.Valid && !c.tier.Valid {
			d.fault(v, "must have %s, as the price itself has", c.key)
		}
	}
	return t, t.Above > 0
}
