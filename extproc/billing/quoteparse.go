package billing

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// ErrQuote is wrapped by every error of ParseQuote.
var ErrQuote = errors.New("not a quote")

// What ParseQuote keeps to. A quote of 16 attempts with long names has about 5 KB.
const (
	maxQuote   = 64 << 10
	maxOffers  = 64
	maxID      = 128
	maxDecimal = 48      // bytes of a price
	maxBytes   = 1 << 50 // of a request
)

// ParseQuote reads what AppendJSON wrote, and nothing else: any other spelling of
// the same quote (spaces, another order, a field twice or unknown, "0.50" for
// "0.5") is an error. The quote's strings share s, apart from ID.
func ParseQuote(s string) (*Quote, error) {
	if len(s) > maxQuote {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrQuote, len(s), maxQuote)
	}
	r := reader{rest: s}
	q := r.quote()
	err := r.err
	if err == nil {
		err = q.check()
	}
	if err == nil && string(q.AppendJSON(make([]byte, 0, len(s)+1))) != s {
		err = errors.New("not spelt as shunt spells it")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrQuote, err)
	}
	q.ID = strings.Clone(q.ID) // it is remembered for longer than the rest
	return q, nil
}

// quote reads the members in the order in which AppendJSON writes them.
func (r *reader) quote() *Quote {
	r.must(`{"v":`)
	if v := r.number(); v != quoteVersion {
		r.fail("version %d, this shunt knows %d", v, quoteVersion)
	}
	q := &Quote{ID: r.member(`,"id":`), Source: r.member(`,"src":`)}
	r.must(`,"t":`)
	q.StartedAt = time.UnixMicro(r.number()).UTC()
	q.API = named(r, r.member(`,"api":`), "api", catalog.Chat, catalog.Completions, catalog.Responses)
	q.Stream = r.has(`,"s":1`)
	q.RequestedModel = r.member(`,"rm":`)
	q.Model = r.member(`,"m":`)
	q.Kind = named(r, r.member(`,"k":`), "decision kind",
		policy.KindDefault, policy.KindExplicit, policy.KindSuffix, policy.KindPreference, policy.KindCaching)
	q.Catalog = r.member(`,"h":`)
	q.Mode = Mode(r.member(`,"b":`))
	q.Subject = r.member(`,"sub":`)
	q.Subscriber = r.has(`,"plan":1`)
	r.must(`,"mk":`)
	q.Markup = r.decimal()
	q.Currency = r.member(`,"cur":`)
	q.Default = r.price(`,"dp":`)
	r.must(`,"rb":`)
	q.RequestBytes = r.number()
	r.must(`,"a":[`)
	for r.err == nil && !r.has(`]`) {
		if len(q.Offers) > 0 {
			r.must(`,`)
		}
		q.Offers = append(q.Offers, r.offer())
		if len(q.Offers) > maxOffers {
			r.fail("more than %d attempts", maxOffers)
		}
	}
	q.Left = r.left()
	if r.has(`,"lc":`) {
		q.LeftCut = int(r.number())
	}
	r.must(`}`)
	return q
}

// left reads the runs of offers that were left out.
func (r *reader) left() (list []LeftOut) {
	if !r.has(`,"lo":[`) {
		return nil
	}
	for r.err == nil && !r.has(`]`) {
		if list != nil {
			r.must(`,`)
		}
		r.must(`[`)
		l := LeftOut{Reason: r.text()}
		r.must(`,`)
		l.Model = r.text()
		for r.err == nil && !r.has(`]`) {
			r.must(`,`)
			l.Provider = r.text()
			list = append(list, l)
			if len(list) > maxLeftOffers {
				r.fail("more than %d offers left out", maxLeftOffers)
			}
		}
	}
	return list
}

func (r *reader) offer() Offer {
	r.must(`{"p":`)
	o := Offer{Provider: r.text(), Upstream: r.member(`,"u":`), Price: r.price(`,"c":`), Model: r.member(`,"m":`), Default: r.price(`,"dp":`)}
	if r.has(`,"mk":`) {
		o.Markup = decimal.NewNullDecimal(r.decimal())
	}
	r.must(`}`)
	return o
}

// price reads [prompt, completion, cache_read, cache_write, request, tier …], nil if
// the member is not there.
func (r *reader) price(key string) *catalog.Price {
	if !r.has(key) {
		return nil
	}
	p := &catalog.Price{}
	r.must(`[`)
	p.Prompt = r.decimal()
	r.must(`,`)
	p.Completion = r.decimal()
	r.must(`,`)
	p.CacheRead = r.orNull()
	r.must(`,`)
	p.CacheWrite = r.orNull()
	r.must(`,`)
	p.Request = r.decimal()
	for r.err == nil && !r.has(`]`) {
		p.Tiers = append(p.Tiers, r.tier())
		if len(p.Tiers) > maxTiers {
			r.fail("more than %d tiers", maxTiers)
		}
	}
	return p
}

// maxTiers bounds the tiers of a price; a catalog allows 8.
const maxTiers = 8

func (r *reader) tier() catalog.Tier {
	r.must(`,[`)
	t := catalog.Tier{Above: r.number()}
	r.must(`,`)
	t.Prompt = r.decimal()
	r.must(`,`)
	t.Completion = r.decimal()
	r.must(`,`)
	t.CacheRead = r.orNull()
	r.must(`,`)
	t.CacheWrite = r.orNull()
	r.must(`]`)
	return t
}

func (r *reader) orNull() decimal.NullDecimal {
	if r.has(`null`) {
		return decimal.NullDecimal{}
	}
	return decimal.NewNullDecimal(r.decimal())
}

// decimal takes digits with at most one point: no sign, no exponent, since
// 1e999999999 is a short text and a number that fills the memory.
func (r *reader) decimal() decimal.Decimal {
	s := r.text()
	if r.err != nil {
		return decimal.Decimal{}
	}
	if s == "" || len(s) > maxDecimal || strings.Trim(s, "0123456789.") != "" {
		r.fail("%q is not a decimal number", clip(s))
		return decimal.Decimal{}
	}
	d, err := decimal.NewFromString(s)
	if err != nil {
		r.fail("%w", err)
	}
	return d
}

// named finds the value that s names.
func named[T fmt.Stringer](r *reader, s, what string, values ...T) (none T) {
	for _, v := range values {
		if v.String() == s {
			return v
		}
	}
	r.fail("%s %q", what, clip(s))
	return none
}

func (q *Quote) check() error {
	switch {
	case q.ID == "" || len(q.ID) > maxID:
		return fmt.Errorf("id of %d bytes, the limit is 1 to %d", len(q.ID), maxID)
	case q.StartedAt.Year() < 1970 || q.StartedAt.Year() > 9998:
		return fmt.Errorf("started in the year %d", q.StartedAt.Year())
	case len(q.RequestedModel) > MaxRequestedModel:
		return fmt.Errorf("requested model of %d bytes, the limit is %d", len(q.RequestedModel), MaxRequestedModel)
	case q.Mode != Paygo && q.Mode != Subscription:
		return fmt.Errorf("billing mode %q", clip(string(q.Mode)))
	case q.Mode == Subscription && (!q.Subscriber || !included(q.Kind)):
		return fmt.Errorf("a subscription cannot cover %s traffic of a caller with subscriber=%t", q.Kind, q.Subscriber)
	case q.RequestBytes < 0 || q.RequestBytes > maxBytes:
		return fmt.Errorf("request of %d bytes", q.RequestBytes)
	case q.LeftCut < 0:
		return fmt.Errorf("%d offers left out beyond those named", q.LeftCut)
	}
	return nil
}

// clip bounds what an error quotes.
func clip(s string) string {
	const limit = 32
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
