package billing

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/shopspring/decimal"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// Mode says who pays.
type Mode string

// The modes.
const (
	Paygo        Mode = "paygo"
	Subscription Mode = "subscription" // the amount is 0 (BILL-3)
)

// Quote is what was fixed when a request was admitted (BILL-5): everything of the
// event that is not known only afterwards. It travels as JSON in Envoy's metadata.
type Quote struct {
	ID        string    // the request's and the event's id; 1 to 128 bytes
	Source    string    // the instance that admitted the request
	StartedAt time.Time // to the microsecond

	API            catalog.API
	Stream         bool
	RequestedModel string // as the client wrote it, cut to MaxRequestedModel
	Model          string // the primary model's id
	Kind           policy.Kind
	Catalog        string // hash of the catalog that decided

	Mode       Mode
	Subject    string // keyed hash of the caller; "": nobody
	Subscriber bool
	Markup     decimal.Decimal // a factor: 0.05 for 5 %
	Currency   string
	Default    *catalog.Price // of the primary model; nil: unknown

	RequestBytes int64   // the body's size as the client sent it
	Offers       []Offer // one per attempt, in the order of the attempts

	Left    []LeftOut // offers that are not tried, as many as go into maxLeft
	LeftCut int       // how many more there are
}

// Offer is one attempt's offer as it was quoted.
type Offer struct {
	Provider string         // slug
	Upstream string         // the provider's id of the model
	Price    *catalog.Price // before markup; nil: unknown

	// Markup is set where it is another than the quote's.
	Markup decimal.NullDecimal

	// Model is set for an offer of another model than the quote's (SEL-14), and
	// Default is then that model's default price.
	Model   string
	Default *catalog.Price
}

// LeftOut is an offer that was not to be tried, and why.
type LeftOut struct {
	Provider string
	Reason   string // as policy.Reason says it
	Model    string // of another model than the quote's; else ""
}

// MaxRequestedModel bounds Quote.RequestedModel, in bytes.
const MaxRequestedModel = 256

// Facts are what a quote needs beside the decision.
type Facts struct {
	ID             string
	Source         string
	StartedAt      time.Time
	API            catalog.API
	Stream         bool
	RequestedModel string // any length
	Subject        string
	Subscriber     bool
	RequestBytes   int64
	Catalog        *catalog.Catalog
}

// NewQuote fixes the prices of every offer in d. The quote shares the catalog's
// prices and strings; nothing is copied.
func NewQuote(d *policy.Decision, f *Facts) Quote {
	q := Quote{
		ID: f.ID, Source: f.Source, StartedAt: f.StartedAt,
		API: f.API, Stream: f.Stream, RequestedModel: bounded(f.RequestedModel), Model: d.Model.ID,
		Kind: d.Kind, Catalog: f.Catalog.Hash,
		Mode: Paygo, Subject: f.Subject, Subscriber: f.Subscriber,
		Markup: f.Catalog.Billing.Markup, Currency: f.Catalog.Billing.Currency, Default: d.Model.Price,
		RequestBytes: f.RequestBytes,
		Offers:       make([]Offer, len(d.Attempts)),
	}
	// BILL-3: default and caching traffic of a subscriber is included unless the
	// billing mode is paygo.
	if f.Subscriber && !d.Paygo && included(d.Kind) {
		q.Mode = Subscription
	}
	for i := range d.Attempts {
		o := d.Attempts[i].Offer
		q.Offers[i] = Offer{Provider: o.Provider.Slug, Upstream: o.Upstream, Price: o.Price}
		if o.Model != d.Model {
			q.Offers[i].Model, q.Offers[i].Default = o.Model.ID, o.Model.Price
		}
		if o.Model.Markup.Valid || o.Provider.Markup.Valid {
			if m := f.Catalog.Billing.MarkupFor(o); !m.Equal(q.Markup) {
				q.Offers[i].Markup = decimal.NewNullDecimal(m)
			}
		}
	}
	q.Left, q.LeftCut = leftOut(d)
	return q
}

// maxLeft bounds what a quote says of offers that are not tried, in bytes of its
// JSON, about; maxLeftOffers bounds how many there are.
const (
	maxLeft       = 768
	maxLeftOffers = 48
)

// leftOut takes over those that fit, in the decision's order.
func leftOut(d *policy.Decision) (list []LeftOut, cut int) {
	if len(d.Left) == 0 {
		return nil, 0
	}
	list = make([]LeftOut, 0, min(len(d.Left), maxLeftOffers))
	size := 0
	var run LeftOut // what a run has in common
	why := policy.Reason(0)
	for i := range d.Left {
		o, reason := d.Left[i].Offer, d.Left[i].Reason
		model := ""
		if o.Model != d.Model {
			model = o.Model.ID
		}
		size += len(o.Provider.Slug) + len(`,""`)
		if i == 0 || reason != why || model != run.Model {
			why, run = reason, LeftOut{Reason: reason.String(), Model: model}
			size += len(run.Reason) + len(model) + len(`,["",""]`)
		}
		if len(list) == maxLeftOffers || size > maxLeft {
			return list, len(d.Left) - len(list)
		}
		run.Provider = o.Provider.Slug
		list = append(list, run)
	}
	return list, 0
}

// included: a subscription may cover this kind, and the model's default price
// holds for it (BILL-2, BILL-3).
func included(k policy.Kind) bool { return k == policy.KindDefault || k == policy.KindCaching }

// bounded cuts s to MaxRequestedModel bytes, between two runes, and makes it UTF-8.
func bounded(s string) string {
	s = cut(s, MaxRequestedModel)
	if utf8.ValidString(s) {
		return s
	}
	return cut(strings.ToValidUTF8(s, "\uFFFD"), MaxRequestedModel)
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// model is the id of the model that an attempt at o is for.
func (q *Quote) model(o *Offer) string {
	if o != nil && o.Model != "" {
		return o.Model
	}
	return q.Model
}

// price is what an attempt at o is charged by, nil if unknown. o is nil where no
// offer was tried.
//
// BILL-2: explicit, suffix and preference: the serving offer's price + markup;
// default and caching: the model's default price.
func (q *Quote) price(o *Offer) (p *catalog.Price, markup decimal.Decimal) {
	switch {
	case included(q.Kind) && o != nil && o.Model != "":
		return o.Default, decimal.Decimal{}
	case included(q.Kind):
		return q.Default, decimal.Decimal{}
	case o != nil:
		return o.Price, q.markup(o)
	}
	return nil, q.Markup
}

// markup is what goes on o's own price.
func (q *Quote) markup(o *Offer) decimal.Decimal {
	if o.Markup.Valid {
		return o.Markup.Decimal
	}
	return q.Markup
}
