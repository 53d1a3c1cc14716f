package catalog

import "slices"

var (
	modelKeys = newKeys("name", "aliases", "provider_selection", "price", "markup", "default_providers", "offers!")
	offerKeys = newKeys("provider!", "model!", "price", "caching", "tools", "stream_usage", "parameters", "apis",
		"engines", "estimate", "distillation", "enabled")
	estimateKeys     = newKeys("ttft", "throughput")
	distillationKeys = newKeys("status!", "label", "basis", "source_url", "note")
)

func (d *decoder) models(v value) {
	ok := d.entries(v, func(id string, v value) {
		d.model(id, v)
	})
	d.noModels = !ok
	if ok && len(d.cat.Models) == 0 {
		d.noModels = true
		d.fault(v, "has no models")
	}
}

func (d *decoder) model(id string, v value) {
	m := &Model{ID: id, Name: id, ProviderSelection: true}
	d.cat.Models = append(d.cat.Models, m)
	if problem := modelProblem(id); problem != "" {
		d.faultKey(v, "", "a model's id %s", problem)
	}
	d.nameModel(v.key, v, m, id)
	var preferred value
	d.object(v, modelKeys, func(key string, v value) {
		switch key {
		case "name":
			set(&m.Name)(d.name(v))
		case "aliases":
			m.Aliases = distinct(d, v, func(v value) (string, bool) { return d.modelAlias(v, m) })
		case "provider_selection":
			m.ProviderSelection = d.boolean(v)
		case "price":
			m.Price = d.price(v)
		case "markup":
			set(&m.Markup)(d.optionalPercent(v))
		case "default_providers":
			preferred = v // after offers
		case "offers":
			d.offers(v, m)
		}
	})
	if preferred.Node != nil {
		m.DefaultProviders = distinct(d, preferred, func(v value) (*Provider, bool) { return d.defaultProvider(v, m) })
	}
}

func (d *decoder) modelAlias(v value, m *Model) (string, bool) {
	alias, ok := d.text(v)
	if !ok {
		return "", false
	}
	if problem := modelProblem(alias); problem != "" {
		d.fault(v, "an alias %s", problem)
		return "", false
	}
	if alias == m.ID {
		d.fault(v, "is the model's id")
		return "", false
	}
	d.nameModel(v.at, v, m, alias)
	return alias, true
}

// nameModel makes m known by an id or alias, which only m may have.
func (d *decoder) nameModel(at pos, v value, m *Model, name string) {
	if other := d.cat.models[name]; other != nil && other != m {
		d.add(at, v.place.String(), quote(name)+" names model "+quote(other.ID)+" already", "")
		return
	}
	d.cat.models[name] = m
}

func (d *decoder) defaultProvider(v value, m *Model) (*Provider, bool) {
	p, ok := d.providerRef(v)
	if !ok {
		return nil, false
	}
	if m.OfferOf(p) == nil {
		slugs := make([]string, len(m.Offers))
		for i, o := range m.Offers {
			if o.Provider != nil {
				slugs[i] = o.Provider.Slug
			}
		}
		if !slices.Contains(slugs, "") { // else the offer may be one of the faulty ones
			d.faultNear(v, d.nearest(p.Slug, slugs), "%s has no offer for this model", p.Slug)
		}
	}
	return p, true
}

func (d *decoder) offers(v value, m *Model) {
	m.Offers = make([]*Offer, 0, len(v.Content))
	seen := make(map[*Provider]bool, len(v.Content))
	ok := d.items(v, func(v value) {
		o := &Offer{Model: m, Index: len(d.cat.offers), StreamUsage: true, Enabled: true,
			APIs: APISet(0).With(Chat).With(Completions)}
		m.Offers = append(m.Offers, o)
		d.cat.offers = append(d.cat.offers, o)
		d.offer(v, o)
		if o.Provider == nil {
			return
		}
		if seen[o.Provider] {
			d.faultKey(v, "", "is a second offer by %s: a model has one offer per provider", o.Provider.Slug)
		}
		seen[o.Provider] = true
	})
	if ok && len(v.Content) == 0 {
		d.fault(v, "must not be empty")
	}
}

func (d *decoder) offer(v value, o *Offer) {
	d.object(v, offerKeys, func(key string, v value) {
		switch key {
		case "provider":
			set(&o.Provider)(d.providerRef(v))
		case "model":
			set(&o.Upstream)(d.name(v))
		case "price":
			o.Price = d.price(v)
		case "caching":
			o.Caching = d.boolean(v)
		case "tools":
			o.Tools = d.boolean(v)
		case "stream_usage":
			o.StreamUsage = d.boolean(v)
		case "parameters":
			o.Parameters = d.parameters(v)
		case "apis":
			o.APIs = d.apis(v)
		case "engines":
			o.Engines = distinct(d, v, d.engineRef)
		case "estimate":
			d.estimate(v, &o.Estimate)
		case "distillation":
			o.Distillation = d.distillation(v)
		case "enabled":
			o.Enabled = d.boolean(v)
		}
	})
}

func (d *decoder) parameters(v value) ParamSet {
	var set ParamSet
	d.items(v, func(v value) {
		name, ok := d.text(v)
		if !ok {
			return
		}
		bit, known := paramBits[name]
		switch {
		case !known:
			d.faultNear(v, d.nearest(name, paramNames), "unknown parameter %s", quote(name))
		case bit != 0 && set.Has(bit):
			d.fault(v, "is in this list twice")
		}
		set |= bit
	})
	return set
}

var paramNames = append(checkedParams[:], uncheckedParams...)

var apiChoices = []choice[API]{{"chat", Chat}, {"completions", Completions}, {"responses", Responses}}

func (d *decoder) apis(v value) APISet {
	var set APISet
	ok := d.items(v, func(v value) {
		api, ok := choose(d, v, apiChoices)
		if !ok {
			return
		}
		if set.Has(api) {
			d.fault(v, "is in this list twice")
		}
		set = set.With(api)
	})
	if ok && len(v.Content) == 0 {
		d.fault(v, "must not be empty: use enabled: false for an offer that serves nothing")
	}
	return set
}

const maxThroughput = 1e6 // tokens per second

func (d *decoder) estimate(v value, e *Estimate) {
	d.object(v, estimateKeys, func(key string, v value) {
		if key == "ttft" {
			set(&e.TTFT)(d.duration(v, longest))
		} else {
			set(&e.Throughput)(d.float(v, maxThroughput))
		}
	})
}

func (d *decoder) distillation(v value) *Distillation {
	x := &Distillation{}
	d.object(v, distillationKeys, func(key string, v value) {
		s, ok := d.text(v)
		if !ok {
			return
		}
		switch key {
		case "status":
			if s == "" {
				d.fault(v, "must not be empty")
			}
			x.Status = s
		case "label":
			x.Label = s
		case "basis":
			x.Basis = s
		case "source_url":
			if s != "" {
				d.link(v, "https", "http")
			}
			x.SourceURL = s
		case "note":
			x.Note = s
		}
	})
	return x
}
