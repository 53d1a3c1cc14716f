package catalog

import (
	"slices"
	"strings"
	"time"
)

var (
	providerKeys = newKeys("name", "aliases", "endpoint!", "api_key", "timeout", "markup")
	timeoutKeys  = newKeys("connect", "first_byte", "idle")
)

func defaultTimeouts() Timeouts {
	return Timeouts{Connect: 2 * time.Second, FirstByte: 20 * time.Second, Idle: 60 * time.Second}
}

func (d *decoder) providers(v value) {
	ok := d.entries(v, func(slug string, v value) {
		d.provider(slug, v)
	})
	d.noProvs = !ok
	if ok && len(d.cat.Providers) == 0 {
		d.noProvs = true
		d.fault(v, "has no providers")
	}
}

func (d *decoder) provider(slug string, v value) {
	p := &Provider{Slug: slug, Name: slug, Timeout: defaultTimeouts()}
	d.cat.Providers = append(d.cat.Providers, p)
	if problem := slugProblem(slug); problem != "" {
		d.faultKey(v, slugify(slug), "a provider's slug %s", problem)
	}
	d.nameProvider(v.key, v, p, slug)
	d.object(v, providerKeys, func(key string, v value) {
		switch key {
		case "name":
			if name, ok := d.name(v); ok {
				p.Name = name
				d.nameProvider(v.at, v, p, name)
			}
		case "aliases":
			p.Aliases = distinct(d, v, func(v value) (string, bool) { return d.providerAlias(v, p) })
		case "endpoint":
			set(&p.Endpoint)(d.apiBase(v))
		case "api_key":
			set(&p.APIKey)(d.secret(v))
		case "timeout":
			d.timeouts(v, &p.Timeout)
		case "markup":
			set(&p.Markup)(d.optionalPercent(v))
		}
	})
}

func (d *decoder) providerAlias(v value, p *Provider) (string, bool) {
	alias, ok := d.text(v)
	if !ok {
		return "", false
	}
	if problem := aliasProblem(alias); problem != "" {
		d.fault(v, "an alias %s", problem)
		return "", false
	}
	d.nameProvider(v.at, v, p, alias)
	return alias, true
}

// nameProvider makes p known by a name, which only p may have. REQ-5: names and
// aliases match case-insensitively.
func (d *decoder) nameProvider(at pos, v value, p *Provider, name string) {
	key := strings.ToLower(name)
	if other := d.cat.providers[key]; other != nil && other != p {
		d.add(at, v.place.String(), quote(name)+" names provider "+quote(other.Slug)+" already", "")
		return
	}
	d.cat.providers[key] = p
}

// apiBase reads a provider's endpoint.
func (d *decoder) apiBase(v value) (Endpoint, bool) {
	e, ok := d.endpoint(v)
	if !ok {
		return Endpoint{}, false
	}
	for _, api := range []API{Chat, Completions, Responses} {
		if strings.HasSuffix(e.Path, api.UpstreamPath()) {
			d.fault(v, "must be the API's base, to which %s is appended", api.UpstreamPath())
			return Endpoint{}, false
		}
	}
	return e, true
}

func (d *decoder) timeouts(v value, t *Timeouts) {
	d.object(v, timeoutKeys, func(key string, v value) {
		to := map[string]*time.Duration{"connect": &t.Connect, "first_byte": &t.FirstByte, "idle": &t.Idle}[key]
		set(to)(d.duration(v, longest))
	})
}

// providerRef resolves a slug or an alias.
func (d *decoder) providerRef(v value) (*Provider, bool) {
	name, ok := d.text(v)
	if !ok || d.noProvs {
		return nil, false
	}
	p := d.cat.providers[strings.ToLower(name)]
	if p != nil && (p.Slug == name || slices.Contains(p.Aliases, name)) {
		return p, true
	}
	var suggestion string
	if p != nil {
		suggestion = p.Slug // its display name was used, or another case
	} else {
		suggestion = d.nearest(name, d.providerNames())
	}
	d.faultNear(v, suggestion, "unknown provider %s", quote(name))
	return nil, false
}

func (d *decoder) providerNames() []string {
	var names []string
	for _, p := range d.cat.Providers {
		names = append(append(names, p.Slug), p.Aliases...)
	}
	return names
}
