package catalog

// API is one of the request formats that shunt routes.
type API uint8

// The APIs, in the order of their names in an offer's apis list.
const (
	Chat API = iota
	Completions
	Responses
)

// String returns the name that configurations and events use.
func (a API) String() string { return apiNames[a] }

var apiNames = [...]string{"chat", "completions", "responses"}

// UpstreamPath is what follows a provider's endpoint for this API.
func (a API) UpstreamPath() string {
	return [...]string{"/chat/completions", "/completions", "/responses"}[a]
}

// APISet is a set of APIs.
type APISet uint8

// Has reports whether a is in the set.
func (s APISet) Has(a API) bool { return s&(1<<a) != 0 }

// With returns the set with a added.
func (s APISet) With(a API) APISet { return s | 1<<a }

// Sort is a ranking criterion (SEL-9).
type Sort uint8

// The criteria. SortNone is what `auto`, `none` and `default` mean: suppress
// saved and default preferences, ask for no other (SEL-1).
const (
	SortUnset Sort = iota
	SortSpeed
	SortThroughput
	SortLatency
	SortPrice
	SortNone
)

// Dialect is how `order` is understood (SEL-3).
type Dialect uint8

// The dialects.
const (
	DialectPrefer Dialect = iota // listed first, then the others
	DialectExact                 // only the listed, in that order
)

// ResponseProvider says where an answer names its provider (FALL-4).
type ResponseProvider uint8

// The places.
const (
	ResponseProviderBody   ResponseProvider = iota // header and body
	ResponseProviderHeader                         // header alone
)

// FilterFailure is what Envoy does while shunt is dead or stalled (SEC-5).
type FilterFailure uint8

// The choices.
const (
	FilterFailureDeny  FilterFailure = iota // answer an error
	FilterFailureAllow                      // send the request, as it is, to the first provider
)
