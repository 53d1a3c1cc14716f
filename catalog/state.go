package catalog

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// State says where preferences and stickiness live, and the outbox.
type State struct {
	// NATS is "embedded", or the URLs of a cluster's servers (nats:// or tls://)
	// with commas between them. See Servers.
	NATS string
	// Prefix begins the name of every bucket: shunt_prefs, shunt_sticky. Two
	// deployments on one NATS need two prefixes. Default "shunt".
	Prefix      string
	Credentials string // absolute path of a NATS credentials file; "": none
	TLS         StateTLS
	// Replicas is how many servers of the cluster keep each bucket. Default 1;
	// always 1 where NATS is embedded.
	Replicas int
	Cache    StateCache
}

// StateTLS is what every client has.
type StateTLS = ClientTLS

// StateCache bounds what one instance keeps in memory, in bytes.
type StateCache struct {
	Preferences int64 // default 64 MiB: about 50,000 users with a handful of preferences each
	Sticky      int64 // default 256 MiB: about a million conversations
}

// Embedded reports whether NATS runs inside this process.
func (s State) Embedded() bool { return s.NATS == embedded }

// Servers are the URLs of the NATS servers; none where it is embedded.
func (s State) Servers() []string {
	if s.Embedded() {
		return nil
	}
	return strings.Split(s.NATS, ",")
}

const (
	embedded      = "embedded"
	mostReplicas  = 5 // what JetStream allows
	longestPrefix = 32
	leastCache    = 1 << 20
	mostCache     = 1 << 40
)

func defaultState() State {
	return State{
		NATS: embedded, Prefix: "shunt", Replicas: 1,
		Cache: StateCache{Preferences: 64 << 20, Sticky: 256 << 20},
	}
}

var (
	stateKeys      = newKeys("nats", "prefix", "credentials", "tls", "replicas", "cache")
	stateCacheKeys = newKeys("preferences", "sticky")
)

func (d *decoder) state(v value) {
	s := &d.cat.State
	external := make(map[string]value) // keys that only an external NATS has
	d.object(v, stateKeys, func(key string, v value) {
		switch key {
		case "nats":
			d.natsServers(v)
		case "prefix":
			set(&s.Prefix)(d.bucketPrefix(v))
		case "credentials":
			set(&s.Credentials)(d.filename(v))
			external[key] = v
		case "tls":
			d.clientTLS(v, &s.TLS)
			external[key] = v
		case "replicas":
			set(&s.Replicas)(d.whole(v, mostReplicas))
			if s.Replicas > 1 {
				external[key] = v
			}
		case "cache":
			d.object(v, stateCacheKeys, func(key string, v value) {
				to := map[string]*int64{"preferences": &s.Cache.Preferences, "sticky": &s.Cache.Sticky}[key]
				set(to)(d.cacheSize(v))
			})
		}
	})
	if !s.Embedded() {
		return
	}
	for key, v := range external {
		d.faultKey(v, "", "is for a NATS of its own: set state.nats to its URL, or remove %s", key)
	}
}

// natsServers reads "embedded" or URLs. No fault shows a URL: there may be a
// password in it.
func (d *decoder) natsServers(v value) {
	if v.Kind == yaml.ScalarNode && v.Value == embedded {
		return
	}
	d.cat.State.NATS = "" // not embedded, whatever else it is
	if s := d.nearest(v.Value, []string{embedded}); s != "" {
		d.faultNear(v, s, "is neither embedded nor a URL")
		return
	}
	if urls := d.natsURLs(v, "must be embedded or a URL such as nats://nats.example:4222, with nothing behind the port"); urls != nil {
		d.cat.State.NATS = strings.Join(urls, ",")
	}
}

// bucketPrefix reads what NATS allows in the name of a bucket.
func (d *decoder) bucketPrefix(v value) (string, bool) {
	s, ok := d.text(v)
	switch {
	case !ok:
		return "", false
	case s == "":
		d.fault(v, "must not be empty")
	case len(s) > longestPrefix:
		d.fault(v, "%s is longer than %d characters", quote(s), longestPrefix)
	case !isToken(s):
		d.fault(v, "%s may have only letters, digits, - and _ in it", quote(s))
	default:
		return s, true
	}
	return "", false
}

func (d *decoder) cacheSize(v value) (int64, bool) {
	n, ok := d.size(v, mostCache)
	if ok && n < leastCache {
		d.fault(v, "%s is less than 1MiB", quote(v.Value))
		return 0, false
	}
	return n, ok
}
