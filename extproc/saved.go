package extproc

import (
	"context"
	"net/http"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/identity"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/prefs"
)

// prefsTimeout bounds the look at a store whose cache does not hold the user.
const prefsTimeout = 100 * time.Millisecond

// preferences are what the caller saved, nil if nothing is known of any. A store
// that is away does not stop requests: they are routed without.
func (d *Decider) preferences(c *identity.Caller, cat *catalog.Catalog) *policy.Preferences {
	if d.Prefs == nil || !c.Authenticated() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), prefsTimeout)
	defer cancel()
	doc, _, err := d.Prefs.Get(ctx, d.Hasher.User([]byte(c.User)))
	if err != nil || doc.IsZero() {
		return nil
	}
	return resolvePreferences(&doc, cat)
}

// resolvePreferences finds the catalog's providers and models behind saved names.
// What the catalog knows no more is passed over.
func resolvePreferences(d *prefs.Document, c *catalog.Catalog) *policy.Preferences {
	p := &policy.Preferences{
		Preferred:      resolveProviders(d.Preferred, c),
		Excluded:       resolveProviders(d.Excluded, c),
		EnableFallback: d.EnableFallback == nil || *d.EnableFallback,
		Models:         make(map[*catalog.Model]policy.Override, len(d.Models)),
	}
	for id, o := range d.Models {
		m, ok := c.Model(id)
		if !ok {
			continue
		}
		p.Models[m] = policy.Override{
			Preferred:      resolveProviders(o.Preferred, c),
			Excluded:       resolveProviders(o.Excluded, c),
			EnableFallback: o.EnableFallback,
		}
	}
	return p
}

// resolveProviders keeps nil and empty apart: in an override they differ.
func resolveProviders(slugs []string, c *catalog.Catalog) []*catalog.Provider {
	if slugs == nil {
		return nil
	}
	out := make([]*catalog.Provider, 0, len(slugs))
	for _, slug := range slugs {
		if p, ok := c.Provider(slug); ok {
			out = append(out, p)
		}
	}
	return out
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
