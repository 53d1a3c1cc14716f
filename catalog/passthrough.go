package catalog

import (
	"slices"
	"strings"
)

var passthroughKeys = newKeys("path", "prefix", "endpoint!")

// ownPaths are the paths that shunt answers itself (API-1 … API-5).
var ownPaths = slices.Concat(routedPaths, []string{
	"/v1/models", "/api/v1/models", "/v1/engines", "/api/v1/engines", "/api/user/provider-preferences",
})

// ownPrefix holds /api/models/{id}/providers (API-3).
const ownPrefix = "/api/models/"

func (d *decoder) passthrough(v value) {
	seen := make(map[Passthrough]bool)
	d.items(v, func(v value) {
		var p Passthrough
		given := 0
		ok := d.object(v, passthroughKeys, func(key string, v value) {
			switch key {
			case "path":
				given++
				set(&p.Path)(d.exactPath(v))
			case "prefix":
				given++
				set(&p.Prefix)(d.pathPrefix(v))
			case "endpoint":
				set(&p.Endpoint)(d.origin(v))
			}
		})
		if ok && given != 1 {
			d.faultKey(v, "", "must have one of path and prefix")
		}
		d.cat.Passthrough = append(d.cat.Passthrough, p)
		route := Passthrough{Path: p.Path, Prefix: p.Prefix}
		if seen[route] && route != (Passthrough{}) {
			d.faultKey(v, "", "%s has an entry above already", quote(p.Path+p.Prefix))
		}
		seen[route] = true
	})
}

func (d *decoder) requestPath(v value) (string, bool) {
	s, ok := d.text(v)
	if !ok {
		return "", false
	}
	switch {
	case !strings.HasPrefix(s, "/"):
		d.fault(v, "%s does not begin with /", quote(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '?' || r == '#' }):
		d.fault(v, "%s is not a path: it contains ?, #, a space or a letter outside ASCII", quote(s))
	case !cleanPath(s):
		d.fault(v, "%s must not contain //, /./ or /../", quote(s))
	default:
		return s, true
	}
	return "", false
}

func (d *decoder) exactPath(v value) (string, bool) {
	s, ok := d.requestPath(v)
	if ok && (slices.Contains(ownPaths, s) || strings.HasPrefix(s, ownPrefix)) {
		d.fault(v, "%s is answered by shunt itself", quote(s))
		return "", false
	}
	return s, ok
}

func (d *decoder) pathPrefix(v value) (string, bool) {
	s, ok := d.requestPath(v)
	if !ok {
		return "", false
	}
	if !strings.HasSuffix(s, "/") {
		d.faultNear(v, s+"/", "%s does not end with /", quote(s))
		return "", false
	}
	if strings.HasPrefix(s, ownPrefix) {
		d.fault(v, "%s is answered by shunt itself", quote(s))
		return "", false
	}
	return s, true
}

// origin reads an endpoint without a path: what comes in goes out untouched.
func (d *decoder) origin(v value) (Endpoint, bool) {
	e, ok := d.endpoint(v)
	if ok && e.Path != "" {
		d.fault(v, "must not have a path: the request's own path is sent as it is")
		return Endpoint{}, false
	}
	return e, ok
}
