// Package names is the contract between what extproc says to Envoy and what
// Envoy's configuration listens for: headers, metadata keys, clusters, sockets.
package names

// Namespace is the dynamic-metadata namespace that extproc writes.
const Namespace = "shunt"

// Keys inside Namespace.
const (
	KeyPriorityGroups = "priority_groups" // the chain, as PriorityGroupClusterSpecifier reads it
	KeyQuote          = "quote"           // string: billing.Quote as JSON
	KeyPlan           = "plan"            // string: what a retry needs, as JSON; absent with one attempt
	KeyStripUsage     = "strip_usage"     // bool: a usage chunk is not the client's (BILL-7)
)

// KeyStreamError is set beside the keys above by the response filter when a
// 200 stream carried an error event.
const KeyStreamError = "stream_error"

// Internal headers. All begin with Prefix, and Prefix is stripped from what
// clients send and from what providers and clients get.
const (
	Prefix      = "x-shunt-"
	HeaderRoute = "x-shunt-route" // set by extproc; selects the AI route
	// HeaderExplain asks for the decision's explanation; the answer carries it
	// under the same name.
	HeaderExplain = "x-shunt-explain"
)

// Headers of the public API.
const (
	HeaderProvider    = "x-provider"
	HeaderAttempts    = "x-attempts"
	HeaderRequestID   = "x-request-id"
	HeaderVariant     = "x-variant-id"
	HeaderBillingMode = "x-billing-mode"
)

// Clusters that shunt itself answers on.
const (
	ClusterExtProc = "shunt"     // gRPC: ext_proc, access log, xDS
	ClusterAPI     = "shunt_api" // HTTP: models, providers, engines, preferences
)

const providerCluster = "shunt_provider_"

// ProviderCluster is the cluster of the provider with this slug.
func ProviderCluster(slug string) string { return providerCluster + slug }

// ProviderOf is the slug of a provider's cluster; ok is false for any other
// cluster.
func ProviderOf(cluster string) (slug string, ok bool) {
	if len(cluster) <= len(providerCluster) || cluster[:len(providerCluster)] != providerCluster {
		return "", false
	}
	return cluster[len(providerCluster):], true
}
