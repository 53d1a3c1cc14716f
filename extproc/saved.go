package extproc

import (
	"context"
	"net/http"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/identity"
	"github.com/shunt-gateway/shunt/policy"
)

// prefsTimeout bounds the look at a store whose cache does not hold the user.
const prefsTimeout = 100 * time.Millisecond

// Saved finds what a user saved, by the keyed hash of the user, as policy takes it
// under one catalog; nil if nothing is saved. It is asked for each request.
type Saved interface {
	For(ctx context.Context, user string, c *catalog.Catalog) (*policy.Preferences, error)
}

// preferences are what the caller saved, nil if nothing is known of any. A store
// that is away does not stop requests: they are routed without.
func (d *Decider) preferences(c *identity.Caller, cat *catalog.Catalog) *policy.Preferences {
	if d.Prefs == nil || !c.Authenticated() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), prefsTimeout)
	defer cancel()
	p, err := d.Prefs.For(ctx, d.Hasher.User([]byte(c.User)), cat)
	if err != nil {
		return nil
	}
	return p
}

// Session tells whose session a request of the HTTP API belongs to, by the same
// headers and rules as a routed request (PREF-1): the user's keyed hash, and false
// without one.
func Session(live *Live, hasher *billing.Hasher) func(*http.Request) (string, bool) {
	return func(r *http.Request) (string, bool) {
		w := live.Load()
		if w == nil {
			return "", false
		}
		c := w.Identity.Read(func(name string) []byte {
			if v := r.Header.Values(name); len(v) == 1 {
				return []byte(v[0])
			}
			return nil
		})
		if !c.Authenticated() {
			return "", false
		}
		return hasher.User([]byte(c.User)), true
	}
}
