// Package policy decides which offers serve a request, in which order, and why.
// It is a function of values: no I/O, no goroutines, no clock, no global state.
package policy

import (
	"time"

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

// Request is an Input that made sense: every name resolved against one catalog.
type Request struct {
	API   catalog.API
	Model *catalog.Model
	// … unexported or exported, as Decide needs them.
}

// Snapshot is everything Decide reads beside the request. It is immutable.
type Snapshot struct {
	Catalog *catalog.Catalog
	// Health is indexed by Offer.Index; nil means that nothing was measured yet.
	Health []OfferHealth
}

// OfferHealth is what is known of one offer right now.
type OfferHealth struct {
	TTFT        time.Duration // 0: not measured
	Throughput  float64       // completion tokens per second; 0: not measured
	CoolingTill time.Time     // zero: usable
}

// Decision is an ordered list of attempts, with a reason for every offer that
// is not among them.
type Decision struct {
	Kind     Kind
	Model    *catalog.Model // the primary model
	Attempts []Attempt
	Left     []LeftOut
}

// Attempt is one try at one offer.
type Attempt struct {
	Offer  *catalog.Offer
	Reason Reason
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

// Reason says why an offer is in a decision at its place, or left out.
type Reason uint8

// Error is a refusal that the client can mend (API-6).
type Error struct {
	Status  int    // HTTP status
	Code    string // model_not_found, provider_conflict, …
	Param   string // the input that is wrong: model, provider.only, X-Provider; may be ""
	Message string // valid text; never echoes a prompt or a key
}

// Error makes *Error an error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Read checks an Input against a catalog. Rules: REQ-2 … REQ-7, SEL-15.
func Read(in *Input, c *catalog.Catalog) (*Request, *Error) { panic("todo") }

// Decide ranks the offers for req. The same arguments give the same decision
// (SEL-16).
func Decide(req *Request, snap *Snapshot, now time.Time, rnd uint64) (*Decision, *Error) {
	panic("todo")
}
