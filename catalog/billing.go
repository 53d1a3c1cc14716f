package catalog

import (
	"strings"

	"github.com/shopspring/decimal"
)

var (
	billingKeys = newKeys("markup", "currency", "sinks", "flush", "settle_timeout", "outbox")
	sinkKeys    = newKeys("file!")
)

// defaultBilling has nil sinks: the default one, which stands in data_dir. An empty
// list in the file means none.
func defaultBilling() Billing {
	return Billing{Markup: decimal.New(5, -2), Currency: "USD", Durability: defaultDurability()}
}

func (d *decoder) billing(v value) {
	b := &d.cat.Billing
	d.object(v, billingKeys, func(key string, v value) {
		switch key {
		case "markup":
			set(&b.Markup)(d.percent(v))
		case "currency":
			set(&b.Currency)(d.currency(v))
		case "flush":
			set(&b.Durability.Flush)(d.duration(v, longestFlush))
		case "settle_timeout":
			set(&b.Durability.SettleTimeout)(d.settleTimeout(v))
		case "outbox":
			d.outbox(v)
		case "sinks":
			b.Sinks = append([]Sink{}, distinct(d, v, d.sink)...) // empty, not nil: none
		}
	})
}

func (d *decoder) currency(v value) (string, bool) {
	s, ok := d.text(v)
	if !ok {
		return "", false
	}
	if len(s) != 3 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		d.fault(v, "%s is not a currency code of three capital letters such as USD", quote(s))
		return "", false
	}
	return s, true
}

func (d *decoder) sink(v value) (Sink, bool) {
	var s Sink
	d.object(v, sinkKeys, func(_ string, v value) {
		set(&s.File)(d.filename(v))
	})
	return s, s.File != ""
}
