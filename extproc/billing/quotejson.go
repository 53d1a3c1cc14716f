package billing

import (
	"math/big"
	"strconv"
	"unicode/utf8"

	"github.com/shopspring/decimal"

	"github.com/shunt-gateway/shunt/catalog"
)

// quoteVersion is the first member of a quote's JSON. A reader refuses any other.
const quoteVersion = 1

// AppendJSON appends the quote as one compact JSON object, in ASCII apart from what
// the strings hold. A field that is empty is left out. It allocates only to grow
// dst, for catalog prices of up to 18 digits.
//
//	{"v":1,"id":"…","src":"shunt/a","t":1764000000000000,"api":"chat","s":1,
//	 "rm":"kimi","m":"moonshotai/kimi-k2.6","k":"explicit","h":"<hash>","b":"paygo",
//	 "sub":"<hash>","plan":1,"mk":"0.05","cur":"USD","dp":["0.5","2.6",null,null,"0"],
//	 "rb":512,"a":[{"p":"novita","u":"moonshotai/Kimi-K2.6","c":[…],"mk":"0.1"}],
//	 "lo":[["not in order","","acme","cheap"]],"lc":3}
//
// A price is [prompt, completion, cache_read, cache_write, request], and after them
// its tiers, [above, prompt, completion, cache_read, cache_write] each. lo has runs of
// offers left out for one reason: [reason, model, provider …], the model "" where it
// is the quote's own.
func (q *Quote) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"v":`...)
	dst = strconv.AppendInt(dst, quoteVersion, 10)
	dst = member(dst, `,"id":`, q.ID)
	dst = member(dst, `,"src":`, q.Source)
	dst = append(dst, `,"t":`...)
	dst = strconv.AppendInt(dst, q.StartedAt.UnixMicro(), 10)
	dst = member(dst, `,"api":`, q.API.String())
	dst = marked(dst, `,"s":1`, q.Stream)
	dst = member(dst, `,"rm":`, q.RequestedModel)
	dst = member(dst, `,"m":`, q.Model)
	dst = member(dst, `,"k":`, q.Kind.String())
	dst = member(dst, `,"h":`, q.Catalog)
	dst = member(dst, `,"b":`, string(q.Mode))
	dst = member(dst, `,"sub":`, q.Subject)
	dst = marked(dst, `,"plan":1`, q.Subscriber)
	dst = append(dst, `,"mk":`...)
	dst = appendDecimal(dst, q.Markup)
	dst = member(dst, `,"cur":`, q.Currency)
	dst = appendPrice(dst, `,"dp":`, q.Default)
	dst = append(dst, `,"rb":`...)
	dst = strconv.AppendInt(dst, q.RequestBytes, 10)
	dst = append(dst, `,"a":[`...)
	for i := range q.Offers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = q.Offers[i].appendJSON(dst)
	}
	dst = appendLeft(append(dst, ']'), q.Left)
	if q.LeftCut > 0 {
		dst = strconv.AppendInt(append(dst, `,"lc":`...), int64(q.LeftCut), 10)
	}
	return append(dst, '}')
}

func appendLeft(dst []byte, left []LeftOut) []byte {
	if len(left) == 0 {
		return dst
	}
	dst = append(dst, `,"lo":[`...)
	for i := range left {
		l := &left[i]
		if i == 0 || l.Reason != left[i-1].Reason || l.Model != left[i-1].Model {
			if i > 0 {
				dst = append(dst, `],`...)
			}
			dst = appendString(append(dst, '['), l.Reason)
			dst = appendString(append(dst, ','), l.Model)
		}
		dst = appendString(append(dst, ','), l.Provider)
	}
	return append(dst, `]]`...)
}

func (o *Offer) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"p":`...)
	dst = appendString(dst, o.Provider)
	dst = member(dst, `,"u":`, o.Upstream)
	dst = appendPrice(dst, `,"c":`, o.Price)
	dst = member(dst, `,"m":`, o.Model)
	dst = appendPrice(dst, `,"dp":`, o.Default)
	if o.Markup.Valid {
		dst = appendDecimal(append(dst, `,"mk":`...), o.Markup.Decimal)
	}
	return append(dst, '}')
}

func member(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(append(dst, key...), value)
}

func marked(dst []byte, text string, set bool) []byte {
	if !set {
		return dst
	}
	return append(dst, text...)
}

func appendPrice(dst []byte, key string, p *catalog.Price) []byte {
	if p == nil {
		return dst
	}
	dst = append(append(dst, key...), '[')
	dst = append(appendDecimal(dst, p.Prompt), ',')
	dst = append(appendDecimal(dst, p.Completion), ',')
	dst = append(appendNull(dst, p.CacheRead), ',')
	dst = append(appendNull(dst, p.CacheWrite), ',')
	dst = appendDecimal(dst, p.Request)
	for i := range p.Tiers {
		t := &p.Tiers[i]
		dst = strconv.AppendInt(append(dst, `,[`...), t.Above, 10)
		dst = appendDecimal(append(dst, ','), t.Prompt)
		dst = appendDecimal(append(dst, ','), t.Completion)
		dst = appendNull(append(dst, ','), t.CacheRead)
		dst = append(appendNull(append(dst, ','), t.CacheWrite), ']')
	}
	return append(dst, ']')
}

func appendNull(dst []byte, d decimal.NullDecimal) []byte {
	if !d.Valid {
		return append(dst, `null`...)
	}
	return appendDecimal(dst, d.Decimal)
}

// appendDecimal appends d as a JSON string: plain digits, no exponent, no zeros at
// the end of a fraction.
func appendDecimal(dst []byte, d decimal.Decimal) []byte {
	dst = append(dst, '"')
	if d.IsNegative() {
		dst = append(dst, '-')
	}
	var room [32]byte
	digits := magnitude(room[:0], d)
	exp := int(d.Exponent())
	for exp < 0 && len(digits) > 0 && digits[len(digits)-1] == '0' {
		digits, exp = digits[:len(digits)-1], exp+1
	}
	switch point := len(digits) + exp; {
	case len(digits) == 0 || d.IsZero():
		dst = append(dst, '0')
	case exp >= 0:
		dst = zeros(append(dst, digits...), exp)
	case point > 0:
		dst = append(append(append(dst, digits[:point]...), '.'), digits[point:]...)
	default:
		dst = append(zeros(append(dst, '0', '.'), -point), digits...)
	}
	return append(dst, '"')
}

// magnitude appends the digits of d's coefficient without its sign.
func magnitude(dst []byte, d decimal.Decimal) []byte {
	const fitsInt64 = 18
	if d.NumDigits() <= fitsInt64 {
		n := d.CoefficientInt64()
		return strconv.AppendInt(dst, max(n, -n), 10)
	}
	return new(big.Int).Abs(d.Coefficient()).Append(dst, 10)
}

func zeros(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, '0')
	}
	return dst
}

// appendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for len(s) > 0 {
		n := 0
		for n < len(s) && s[n] >= ' ' && s[n] != '"' && s[n] != '\\' && s[n] < utf8.RuneSelf {
			n++
		}
		dst = append(dst, s[:n]...)
		if s = s[n:]; s == "" {
			break
		}
		r, size := utf8.DecodeRuneInString(s)
		switch s = s[size:]; {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ':
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
