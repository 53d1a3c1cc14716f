// Package names is the contract between what extproc says to Envoy and what
// Envoy's configuration listens for: headers, metadata keys, clusters, sockets.
package names

import (
	"strings"
	"time"
)

// Namespace is the dynamic-metadata namespace that extproc writes.
const Namespace = "shunt"

// AnswerNamespace is what extproc writes for the response filter, which reads nothing
// else of the metadata.
const AnswerNamespace = "shunt.answer"

// Keys inside AnswerNamespace.
const (
	KeyStripUsage = "strip_usage" // bool: a usage chunk is not the client's (BILL-7)
	// KeyUsable is there where all offers of the chain cool down: by provider, when the
	// first of its offers is usable again, in ms since 1970.
	KeyUsable = "usable"
)

// Keys inside Namespace.
const (
	KeyPriorityGroups = "priority_groups" // the chain, as PriorityGroupClusterSpecifier reads it
	KeyQuote          = "quote"           // string: billing.Quote as JSON
	KeyPlan           = "plan"            // string: what a retry needs, as JSON; absent with one attempt
	KeySticky         = "sticky"          // string: the conversation whose provider is recorded (CACHE-4)
	KeyExplain        = "explain"         // string: the explanation a client asked for
)

// Keys that the response filter sets in Namespace.
const (
	KeyStreamError = "stream_error" // bool: a 200 stream carried an error event
	KeyNoFinish    = "no_finish"    // bool: the answer came to its end, and named no finish reason
	KeyUsage       = "usage"        // string: the usage object, as the provider wrote it
	KeyUsageOld    = "usage_old"    // bool: a stream went on after it, without another one
)

// Internal headers. All begin with Prefix, and Prefix is stripped from what
// clients send and from what providers and clients get.
const (
	Prefix      = "x-shunt-"
	HeaderRoute = "x-shunt-route" // set by extproc; selects the AI route
	// HeaderExplain asks for the decision's explanation; the answer carries it
	// under the same name.
	HeaderExplain = "x-shunt-explain"
	// HeaderExplainAsked carries the client's HeaderExplain past the stripping of
	// Prefix, where routing.explain allows it.
	HeaderExplainAsked = "shunt-explain"
)

// Headers that Envoy's token verification sets, for ext_proc and the API.
const (
	HeaderUser = Prefix + "user"
	HeaderPlan = Prefix + "plan"
	// ClusterJWKS is where remote key sets are fetched from.
	ClusterJWKS = "shunt_jwks"
)

// Phase is gRPC metadata on ext_proc streams: which of the two filters calls.
const (
	PhaseKey   = "shunt-phase"
	PhaseRetry = "retry" // the upstream filter, from the second attempt on
)

// Headers of the public API.
const (
	HeaderProvider    = "x-provider"
	HeaderAttempts    = "x-attempts"
	HeaderRequestID   = "x-request-id"
	HeaderVariant     = "x-variant-id"
	HeaderBillingMode = "x-billing-mode"
	// HeaderFirstByte and HeaderTimeout are how long a client wants to wait: for the
	// first byte of one attempt, and of an answer, all attempts together.
	HeaderFirstByte = "x-first-byte-timeout"
	HeaderTimeout   = "x-request-timeout"
)

// Resources of Envoy's configuration.
const (
	Listener    = "shunt"
	RouteConfig = "shunt"
	LogName     = "shunt" // of the access log
)

// Clusters that shunt itself answers on.
const (
	ClusterExtProc = "shunt"     // gRPC: ext_proc, access log, xDS
	ClusterAPI     = "shunt_api" // HTTP: models, providers, engines, preferences

	// ClusterOTLP is the collector that spans are sent to.
	ClusterOTLP = "shunt_otlp"
)

// PassthroughCluster is the cluster of a passthrough endpoint.
func PassthroughCluster(endpoint string) string { return "shunt_passthrough_" + endpoint }

// An attempt whose first-byte timeout is shorter than its request's goes through
// TimedListener, an internal listener, and so does every attempt where Direct is
// false: HeaderTimed names the provider there, and HeaderOutcome on the answer says
// what became of an attempt that failed without one.
const (
	TimedListener = "shunt_timed"
	HeaderTimed   = Prefix + "timed"
	HeaderOutcome = Prefix + "outcome"

	OutcomeTimeout        = "timeout"
	OutcomeConnectFailure = "connect_failure"
	OutcomeReset          = "reset"
	OutcomeDeadline       = "deadline" // cut by the deadline of its request: nothing follows it
)

// An attempt on the timed way that is given less time than its provider's own has
// HeaderWait, in milliseconds; HeaderDeadline beside it says that the request's
// deadline comes then.
const (
	HeaderWait     = Prefix + "wait"
	HeaderDeadline = Prefix + "deadline"
)

// HeaderEnd is what became of an attempt that was answered, for Envoy's retry
// conditions: "503 1 2841" is its status, its number, and after how many ms it came.
const HeaderEnd = Prefix + "end"

const (
	providerCluster = "shunt_provider_"
	timedCluster    = "shunt_timed_"
)

// TimedCluster is the way to a provider through TimedListener.
func TimedCluster(slug string) string { return timedCluster + slug }

// TimedGroup is the priority group of TimedCluster; a provider's slug alone is the
// group of its own cluster.
func TimedGroup(slug string) string { return slug + "!" }

// ProviderCluster is the cluster of the provider with this slug.
func ProviderCluster(slug string) string { return providerCluster + slug }

// ProviderOf is the slug of a provider's cluster, whichever way it goes; ok is
// false for any other cluster.
func ProviderOf(cluster string) (slug string, ok bool) {
	if slug, ok = strings.CutPrefix(cluster, providerCluster); ok {
		return slug, true
	}
	return strings.CutPrefix(cluster, timedCluster)
}

// Route is the value of HeaderRoute that selects the route of requests that may be
// silent for idle.
func Route(idle time.Duration) string { return idle.String() }

// Silence is how long a request may be silent. Envoy has one idle timeout for all of
// its attempts, and it does not begin anew with a retry: a chain whose waits for first
// bytes come to more than its longest idle timeout gets longest, which is what they
// come to in the longest chain that there can be.
func Silence(idle, waits, longest time.Duration) time.Duration {
	if waits <= idle {
		return idle
	}
	return longest
}

// Direct reports whether Envoy can tell apart what fallback_on tells apart, where an
// attempt has no answer: its "reset" is any of the three, and "connect-failure" is one.
// Where it cannot, every attempt takes the timed way, which can.
func Direct(connectFailure, reset, timeout bool) bool {
	return reset == timeout && (connectFailure || !reset)
}

// Paths that shunt itself answers: exact ones and prefixes.
var (
	APIPaths    = []string{"/v1/models", "/api/v1/models", "/v1/engines", "/api/v1/engines", "/api/user/provider-preferences"}
	APIPrefixes = []string{"/v1/models/", "/api/v1/models/", "/api/models/"}
)
