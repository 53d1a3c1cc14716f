package catalog

var (
	engineKeys          = newKeys("default_provider!")
	variantKeys         = newKeys("model!", "provider", "models")
	variantProviderKeys = newKeys("order", "allow_fallbacks", "sort", "ignore")
)

var routingSorts = []choice[Sort]{
	{"speed", SortSpeed}, {"throughput", SortThroughput}, {"latency", SortLatency}, {"price", SortPrice},
}

// variantSorts are those of a request's provider.sort (REQ-6).
var variantSorts = append(routingSorts[:4:4],
	choice[Sort]{"auto", SortNone}, choice[Sort]{"none", SortNone}, choice[Sort]{"default", SortNone})

func (d *decoder) engines(v value) {
	d.entries(v, func(name string, v value) {
		e := &Engine{Name: name}
		d.cat.Engines = append(d.cat.Engines, e)
		d.cat.engines[name] = e
		if problem := slugProblem(name); problem != "" {
			d.faultKey(v, slugify(name), "an engine's name %s", problem)
		}
		d.object(v, engineKeys, func(_ string, v value) {
			set(&e.DefaultProvider)(d.providerRef(v))
		})
	})
}

func (d *decoder) engineRef(v value) (*Engine, bool) {
	name, ok := d.text(v)
	if !ok {
		return nil, false
	}
	if e := d.cat.engines[name]; e != nil {
		return e, true
	}
	names := make([]string, len(d.cat.Engines))
	for i, e := range d.cat.Engines {
		names[i] = e.Name
	}
	d.faultNear(v, d.nearest(name, names), "unknown engine %s", quote(name))
	return nil, false
}

// modelRef resolves a model's id or alias.
func (d *decoder) modelRef(v value) (*Model, bool) {
	name, ok := d.text(v)
	if !ok || d.noModels {
		return nil, false
	}
	if m := d.cat.models[name]; m != nil {
		return m, true
	}
	if d.modelNames == nil {
		for _, m := range d.cat.Models {
			d.modelNames = append(append(d.modelNames, m.ID), m.Aliases...)
		}
	}
	d.faultNear(v, d.nearest(name, d.modelNames), "unknown model %s", quote(name))
	return nil, false
}

func (d *decoder) variants(v value) {
	d.entries(v, func(name string, v value) {
		x := &Variant{Name: name, AllowFallbacks: true}
		d.cat.Variants = append(d.cat.Variants, x)
		d.cat.variants[name] = x
		if problem := modelProblem(name); problem != "" {
			d.faultKey(v, "", "a variant's name %s", problem)
		}
		if m := d.cat.models[name]; m != nil {
			d.faultKey(v, "", "%s names model %s already", quote(name), quote(m.ID))
		}
		d.variant(v, x)
	})
}

func (d *decoder) variant(v value, x *Variant) {
	d.object(v, variantKeys, func(key string, v value) {
		switch key {
		case "model":
			set(&x.Model)(d.modelRef(v))
		case "models":
			x.Models = distinct(d, v, d.modelRef)
		case "provider":
			d.variantProvider(v, x)
		}
	})
}

func (d *decoder) variantProvider(v value, x *Variant) {
	d.object(v, variantProviderKeys, func(key string, v value) {
		switch key {
		case "order":
			x.Order = distinct(d, v, d.providerRef)
		case "ignore":
			x.Ignore = distinct(d, v, d.providerRef)
		case "sort":
			set(&x.Sort)(choose(d, v, variantSorts))
		case "allow_fallbacks":
			x.AllowFallbacks = d.boolean(v)
		}
	})
}
