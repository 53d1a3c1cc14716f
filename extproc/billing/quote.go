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
}

// Offer is one attempt's offer as it was quoted.
type Offer struct {
	Provider string         // slug
	Upstream string         // the provider's id of the model
	Price    *catalog.Price // before markup; nil: unknown

	// Model is set for an offer of another model than the quote's (SEL-14), and
	// Default is then that model's default price.
	Model   string
	Default *catalog.Price
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
	}
	return q
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
		return o.Price, q.Markup
	}
	return nil, q.Markup
}
