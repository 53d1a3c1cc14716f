package catalog

import (
	"strings"

	"github.com/shopspring/decimal"
)

var (
	billingKeys = newKeys("markup", "currency", "sinks", "flush", "settle_timeout", "outbox", "journal")
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
		case "journal":
			d.journal(v)
		case "sinks":
			d.sinks(v)
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
