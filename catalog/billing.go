package catalog

import (
	"strings"

	"github.com/shopspring/decimal"
)

var (
	billingKeys = newKeys("markup", "currency", "sinks")
	sinkKeys    = newKeys("file!")
)

// defaultBilling has no sinks yet: the default one stands in data_dir.
func defaultBilling() Billing {
	return Billing{Markup: decimal.New(5, -2), Currency: "USD"}
}

func (d *decoder) billing(v value) {
	b := &d.cat.Billing
	d.object(v, billingKeys, func(key string, v value) {
		switch key {
		case "markup":
			set(&b.Markup)(d.percent(v))
		case "currency":
			set(&b.Currency)(d.currency(v))
		case "sinks":
			b.Sinks = distinct(d, v, d.sink)
			if len(v.Content) == 0 {
				d.fault(v, "must not be empty: leave it out for the default, events.jsonl in data_dir")
			}
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
