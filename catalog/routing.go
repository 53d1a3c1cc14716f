package catalog

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	mostAttempts = 16
	longestTTL   = 366 * 24 * time.Hour
)

var routingKeys = newKeys("sort", "max_attempts", "fallback_on", "sticky_ttl", "response_provider", "dialects",
	"on_filter_failure", "explain", "health", "deadline", "fallback_within", "retry_budget")

var (
	responseProviders = []choice[ResponseProvider]{{"body", ResponseProviderBody}, {"header", ResponseProviderHeader}}
	filterFailures    = []choice[FilterFailure]{{"deny", FilterFailureDeny}, {"allow", FilterFailureAllow}}
	dialects          = []choice[Dialect]{{"prefer", DialectPrefer}, {"exact", DialectExact}}
)

// routedPaths are the request paths of API-1.
var routedPaths = func() []string {
	paths := make([]string, len(RoutedPaths))
	for i, r := range RoutedPaths {
		paths[i] = r.Path
	}
	return paths
}()

func (d *decoder) routing(v value) {
	r := &d.cat.Routing
	var within value
	d.object(v, routingKeys, func(key string, v value) {
		switch key {
		case "sort":
			set(&r.Sort)(choose(d, v, routingSorts))
		case "max_attempts":
			set(&r.MaxAttempts)(d.whole(v, mostAttempts))
		case "fallback_on":
			r.FallbackOn = d.fallbackOn(v)
		case "sticky_ttl":
			set(&r.StickyTTL)(d.duration(v, longestTTL))
		case "response_provider":
			set(&r.ResponseProvider)(choose(d, v, responseProviders))
		case "dialects":
			r.Dialects = d.dialects(v)
		case "on_filter_failure":
			set(&r.OnFilterFailure)(choose(d, v, filterFailures))
		case "explain":
			r.Explain = d.boolean(v)
		case "health":
			d.health(v)
		case "deadline":
			set(&r.Deadline)(d.duration(v, longest))
		case "fallback_within":
			within = v
			set(&r.FallbackWithin)(d.duration(v, longest))
		case "retry_budget":
			d.retryBudget(v)
		}
	})
	d.fallbackLimits(within)
}

// fallbackOn reads the outcomes after which the next attempt is made (FALL-1).
func (d *decoder) fallbackOn(v value) FallbackOn {
	var f FallbackOn
	words := []choice[*bool]{
		{"connect-failure", &f.ConnectFailure}, {"reset", &f.Reset}, {"timeout", &f.Timeout}, {"5xx", &f.ServerErrors},
	}
	d.items(v, func(v value) {
		word, ok := d.plain(v, "a word or a status", "!!str", "!!int")
		if !ok {
			return
		}
		if i := slices.IndexFunc(words, func(c choice[*bool]) bool { return c.name == word }); i >= 0 {
			if *words[i].value {
				d.fault(v, "is in this list twice")
			}
			*words[i].value = true
			return
		}
		status, err := strconv.Atoi(word)
		switch {
		case err != nil:
			names := choiceNames(words)
			d.faultNear(v, d.nearest(word, names), "%s is not one of %s, or a status from 400 to 599",
				quote(word), strings.Join(names, ", "))
		case status < 400 || status > 599:
			d.fault(v, "%s is not a status from 400 to 599", quote(word))
		case status == 400 || status == 413 || status == 422:
			d.fault(v, "%d is the client's fault, so that there is never a fallback after it", status) // FALL-1
		case slices.Contains(f.Statuses, status):
			d.fault(v, "is in this list twice")
		default:
			f.Statuses = append(f.Statuses, status)
		}
	})
	slices.Sort(f.Statuses)
	return f
}

func (d *decoder) dialects(v value) map[string]Dialect {
	m := make(map[string]Dialect)
	d.entries(v, func(path string, v value) {
		if !slices.Contains(routedPaths, path) {
			d.faultKey(v, d.nearest(path, routedPaths), "is not a routed path: they are %s", strings.Join(routedPaths, ", "))
			return
		}
		if dialect, ok := choose(d, v, dialects); ok {
			m[path] = dialect
		}
	})
	return m
}

// DialectFor returns how order is understood on a request path without its
// query (SEL-3): as configured for it; as configured for /v1/x, if it is
// /api/v1/x; else exact on …/responses and prefer elsewhere.
func (r *Routing) DialectFor(path string) Dialect {
	if d, ok := r.Dialects[path]; ok {
		return d
	}
	if bare, ok := strings.CutPrefix(path, "/api/v1/"); ok {
		if d, ok := r.Dialects["/v1/"+bare]; ok && slices.Contains(routedPaths, path) {
			return d
		}
	}
	if strings.HasSuffix(path, "/responses") {
		return DialectExact
	}
	return DialectPrefer
}
