package envoy

import (
	"slices"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
)

// scene is a catalog, and what has to be there for requests that the catalog before it
// decided: providers that it no longer has, idle timeouts, and ways round.
type scene struct {
	*catalog.Catalog
	providers []*catalog.Provider // the catalog's first
	timed     []*catalog.Provider
	idles     []time.Duration
}

// sceneOf looks at a catalog, and at the one that it takes the place of, if any. A
// provider that leaves cannot stay on over TLS when there is nothing any more to check
// its certificate against.
func sceneOf(c, leaving *catalog.Catalog, o Options) *scene {
	s := &scene{Catalog: c, providers: c.Providers, timed: timed(c), idles: idles(c)}
	if leaving == nil {
		return s
	}
	unchecked := func(p *catalog.Provider) bool { return p.Endpoint.Scheme == "https" && o.CAFile == "" }
	s.providers = slices.DeleteFunc(withOthers(s.providers, leaving.Providers), unchecked)
	s.timed = slices.DeleteFunc(withOthers(s.timed, timed(leaving)), unchecked)
	for i, p := range s.timed { // as it is now, where it still is
		if at := slices.IndexFunc(c.Providers, sameSlug(p)); at >= 0 {
			s.timed[i] = c.Providers[at]
		}
	}
	s.idles = append(s.idles, idles(leaving)...)
	slices.Sort(s.idles)
	s.idles = slices.Compact(s.idles)
	return s
}

// withOthers appends those of more that a list does not have yet.
func withOthers(list, more []*catalog.Provider) []*catalog.Provider {
	list = slices.Clone(list)
	for _, p := range more {
		if !slices.ContainsFunc(list, sameSlug(p)) {
			list = append(list, p)
		}
	}
	return list
}

func sameSlug(p *catalog.Provider) func(*catalog.Provider) bool {
	return func(other *catalog.Provider) bool { return other.Slug == p.Slug }
}
