package policy

import "github.com/shunt-gateway/shunt/catalog"

// Reason says why an offer is in a decision at its place, or left out.
type Reason uint8

// Why an offer is attempted, at the place where it stands.
const (
	reasonNone         Reason = iota
	Pinned                    // REQ-5: the one provider that the request names
	ListedInOrder             // SEL-3
	SavedPreference           // PREF-5
	EngineDefault             // SEL-13
	DefaultProvider           // SEL-10: in the model's default_providers
	LastServed                // CACHE-2
	RankedBySpeed             // SEL-9
	RankedByThroughput        // SEL-9
	RankedByLatency           // SEL-9
	RankedByPrice             // SEL-9, CACHE-3
	Explored                  // first, because too little is known of it
)

// Why an offer is left out. The order is the order of the checks: an offer
// carries the first that it failed, and when nobody is left, the last one that
// any offer failed is the one to blame (see blame).
const (
	Disabled          Reason = iota + 64 // not available
	NotThisAPI                           // not available
	NotPinned                            // REQ-5
	NotInOnly                            // SEL-2
	NotInOrder                           // SEL-3, dialect exact
	Ignored                              // SEL-4
	Excluded                             // PREF-5
	OverMaxPrice                         // SEL-5
	LacksParameters                      // SEL-7
	NotThisEngine                        // SEL-13
	NoTools                              // SEL-12
	NoCaching                            // CACHE-1
	NotPreferred                         // PREF-5, enableFallback false
	NotDefault                           // SEL-10
	ResolvedToOne                        // SEL-6
	FallbacksOff                         // SEL-8
	BeyondMaxAttempts                    // SEL-14
	BeyondRetryBudget                    // routing.retry_budget: see Shorten

	Reasons // is more than any of them
)

var reasonText = map[Reason]string{
	reasonNone:         "",
	Pinned:             "named by the request",
	ListedInOrder:      "listed in order",
	SavedPreference:    "saved preference",
	EngineDefault:      "default provider of the engine",
	DefaultProvider:    "default provider of the model",
	LastServed:         "served the last matching request",
	RankedBySpeed:      "by estimated completion time",
	RankedByThroughput: "by throughput",
	RankedByLatency:    "by time to first token",
	RankedByPrice:      "by price",
	Explored:           "to measure it",

	Disabled:          "disabled",
	NotThisAPI:        "does not serve this API",
	NotPinned:         "another provider is named",
	NotInOnly:         "not in only",
	NotInOrder:        "not in order",
	Ignored:           "in ignore",
	Excluded:          "excluded by saved preferences",
	OverMaxPrice:      "over max_price",
	LacksParameters:   "lacks a parameter of the request",
	NotThisEngine:     "does not run the engine",
	NoTools:           "does not support tools",
	NoCaching:         "does not support caching",
	NotPreferred:      "not a preferred provider",
	NotDefault:        "not a default provider",
	ResolvedToOne:     "filters resolve to one provider",
	FallbacksOff:      "fallbacks are off",
	BeyondMaxAttempts: "beyond max_attempts",
	BeyondRetryBudget: "beyond the retry budget",
}

// String returns short English.
func (r Reason) String() string { return reasonText[r] }

// ranked is the reason of an offer that a sort put in its place.
func ranked(s catalog.Sort) Reason {
	switch s {
	case catalog.SortSpeed:
		return RankedBySpeed
	case catalog.SortThroughput:
		return RankedByThroughput
	case catalog.SortPrice:
		return RankedByPrice
	default:
		return RankedByLatency
	}
}
