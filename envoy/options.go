package envoy

import (
	"time"

	"github.com/shunt-gateway/shunt/catalog"
)

// Options is what the configuration depends on beside the catalog: where shunt
// listens on this machine.
type Options struct {
	// Socket is the Unix socket of shunt's gRPC server: ext_proc, access log, ADS.
	Socket string
	// APISocket is the Unix socket of shunt's HTTP API.
	APISocket string
	// AdminSocket is the Unix socket of Envoy's own admin interface.
	AdminSocket string
	// CAFile holds the certificates that https providers are checked against.
	CAFile string
	// Journal is the file that Envoy writes each request's end to; "": none. shunt sees
	// it under the same path.
	Journal string

	static bool // everything in one file: no ADS to refer to
}

// messageTimeout is how long Envoy waits for one ext_proc answer before
// routing.on_filter_failure applies (SEC-5). A decision takes well under a
// millisecond; this is for a machine that is out of breath, and shunt sheds load
// long before it (SEC-4).
const messageTimeout = 5 * time.Second

// Resources is one complete configuration.
type Resources struct {
	Listeners []Named
	Routes    []Named
	Clusters  []Named
	Secrets   []Named
}

// Build makes the configuration for a catalog. leaving, if not nil, is the catalog that
// it takes the place of: what requests decided by that one refer to stays. secret
// resolves a provider's key; see InlineSecrets and ReferencedSecrets.
func Build(c, leaving *catalog.Catalog, o Options, secret SecretSource) (Resources, error) {
	s := sceneOf(c, leaving, o)
	secrets, err := secrets(s, secret)
	if err != nil {
		return Resources{}, err
	}
	listener, err := listener(s, o)
	if err != nil {
		return Resources{}, err
	}
	clusters, err := clusters(s, o)
	if err != nil {
		return Resources{}, err
	}
	listeners := []Named{listener}
	if len(s.timed) > 0 {
		listeners = append(listeners, timedListener(s, o))
	}
	return Resources{
		Listeners: listeners,
		Routes:    []Named{routes(s)},
		Clusters:  clusters,
		Secrets:   secrets,
	}, nil
}
