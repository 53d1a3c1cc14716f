// Package policy decides which offers serve a request, in which order, and why.
// It is a function of values: no I/O, no goroutines, no clock, no global state.
package policy

import (
	"github.com/shunt-gateway/shunt/catalog"
)

// Input is what a client sent, before anything of it is believed. Raw fields
// hold the JSON value's bytes as they stood in the body, nil where absent.
type Input struct {
	API  catalog.API
	Path string // request path without query, which selects the dialect

	Model, ModelID, VariantID         []byte
	Provider, Models, Engine          []byte
	Caching, StickyLower, StickyCamel []byte
	BillingMode                       []byte
	Params                            catalog.ParamSet // capability-checked parameters present

	// Header values; a header sent twice has two.
	XProvider, XVariantID, XBillingMode []string
}

// Snapshot is everything Decide reads beside the request. It is immutable.
type Snapshot struct {
	Catalog *catalog.Catalog
	Health  *Health // nil: nothing was measured yet
}

// Decision is an ordered list of attempts, with a reason for every offer that
// is not among them. Every offer of the primary model and of every fallback
// model is in exactly one of Attempts and Left.
type Decision struct {
	Kind     Kind
	Model    *catalog.Model // the primary model
	Attempts []Attempt
	Left     []LeftOut

	// Sort ranked the offers that nothing else had put in order, and the fallback
	// models. Never SortUnset or SortNone.
	Sort catalog.Sort
	// Paygo: the request is charged as pay-as-you-go; no subscription covers it
	// (BILL-2, BILL-3).
	Paygo bool
}

// Shorten leaves the first n attempts, and says why of the others. What is charged
// stays as it was decided.
func (d *Decision) Shorten(n int, why Reason) {
	for _, a := range d.Attempts[n:] {
		d.Left = append(d.Left, LeftOut{a.Offer, why})
	}
	d.Attempts = d.Attempts[:n]
}

// Attempt is one try at one offer.
type Attempt struct {
	Offer   *catalog.Offer
	Reason  Reason
	Cooling bool // it stands behind the usable offers of its model (SEL-11)
	Missed  bool // it is known to miss a preferred latency or throughput
}

// LeftOut is an offer that will not be tried, and why.
type LeftOut struct {
	Offer  *catalog.Offer
	Reason Reason
}

// Kind says what chose the providers, and so how the request is billed (BILL-2).
type Kind uint8

// The kinds.
const (
	KindDefault Kind = iota
	KindExplicit
	KindSuffix
	KindPreference
	KindCaching
)

// String returns the name that events and explanations use.
func (k Kind) String() string {
	return [...]string{"default", "explicit", "suffix", "preference", "caching"}[k]
}
