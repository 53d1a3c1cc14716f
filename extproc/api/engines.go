package api

import (
	"slices"

	"github.com/shunt-gateway/shunt/catalog"
)

// engine is one entry of the engine list (API-4).
type engine struct {
	ID              string           `json:"id"`
	Object          string           `json:"object"`
	DefaultProvider *string          `json:"default_provider"`
	Providers       []engineProvider `json:"providers"`
}

// engineProvider says which models a provider can orchestrate with an engine.
type engineProvider struct {
	Provider string   `json:"provider"`
	Models   []string `json:"models"`
}

func renderEngines(c *catalog.Catalog) page {
	models := make(map[*catalog.Engine]map[*catalog.Provider][]string)
	for _, o := range c.Offers() {
		if !o.Enabled || !o.APIs.Has(catalog.Responses) { // SEL-13: engines are for /v1/responses
			continue
		}
		for _, e := range o.Engines {
			if models[e] == nil {
				models[e] = make(map[*catalog.Provider][]string)
			}
			models[e][o.Provider] = append(models[e][o.Provider], o.Model.ID)
		}
	}
	entries := make([]engine, len(c.Engines))
	for i, e := range c.Engines {
		entries[i] = engine{ID: e.Name, Object: "engine", Providers: []engineProvider{}}
		if e.DefaultProvider != nil {
			entries[i].DefaultProvider = &e.DefaultProvider.Slug
		}
		for _, p := range c.Providers { // sorted
			if ids := models[e][p]; len(ids) > 0 {
				slices.Sort(ids)
				entries[i].Providers = append(entries[i].Providers, engineProvider{Provider: p.Slug, Models: ids})
			}
		}
	}
	return newPage(c, "engines", mustJSON(listOf(entries)))
}
