// Package identity says who a caller is: an API key, a user whose token Envoy has
// verified, or a user that a trusted edge vouches for (ID-1). It sees header values
// and keeps none of them.
package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// Caller is who sends a request. The zero Caller is nobody, who may call too.
type Caller struct {
	User       string // authenticated; "": none
	Session    string // the user's session, where the edge names one
	APIKey     []byte // as sent, without its scheme; nil: none
	Subscriber bool   // plan: subscription
}

// Authenticated reports whether there is a session that preferences may belong to
// (PREF-1). An API key alone is none.
func (c *Caller) Authenticated() bool { return c.User != "" }

// subscription is the plan that marks a subscriber.
const subscription = "subscription"

// Reader reads callers by one configuration. It is immutable.
type Reader struct {
	apiKey  string
	trusted *catalog.TrustedHeaders
	secret  [sha256.Size]byte // of the edge's secret
}

// NewReader makes a Reader; resolve is asked for the edge's secret, if there is an
// edge.
func NewReader(id *catalog.Identity, resolve func(catalog.Secret) (string, error)) (*Reader, error) {
	r := &Reader{apiKey: id.APIKeyHeader, trusted: id.Trusted}
	if r.trusted != nil {
		secret, err := resolve(r.trusted.Secret)
		if err != nil {
			return nil, err
		}
		r.secret = sha256.Sum256([]byte(secret))
	}
	return r, nil
}

// Read puts a caller together from a request's headers. get returns the first value
// of a header by its lower-case name, nil if there is none; the header of a verified
// token is Envoy's own, since a client's is stripped before.
func (r *Reader) Read(get func(name string) []byte) Caller {
	c := Caller{APIKey: bearer(get(r.apiKey))}
	if user := get(names.HeaderUser); len(user) > 0 {
		c.User = string(user)
		c.Subscriber = string(get(names.HeaderPlan)) == subscription
		return c
	}
	if t := r.trusted; t != nil && r.vouched(get(t.SecretHeader)) {
		c.User, c.Session = value(get, t.User), value(get, t.Session)
		c.Subscriber = value(get, t.Plan) == subscription
	}
	return c
}

// vouched compares in constant time (ID-1).
func (r *Reader) vouched(secret []byte) bool {
	got := sha256.Sum256(secret)
	return subtle.ConstantTimeCompare(got[:], r.secret[:]) == 1
}

func value(get func(string) []byte, header string) string {
	if header == "" {
		return ""
	}
	return string(get(header))
}

// bearer takes the scheme off an authorization value; other headers hold the bare
// key.
func bearer(value []byte) []byte {
	const scheme = "bearer "
	if len(value) > len(scheme) && strings.EqualFold(string(value[:len(scheme)]), scheme) {
		value = value[len(scheme):]
	}
	return bytes.TrimSpace(value)
}
