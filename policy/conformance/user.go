package conformance

import (
	"encoding/json"
	"slices"

	"github.com/shunt-gateway/shunt/catalog"
)

// OfUser reports whether all that the case needs beside request and catalog is a user:
// a plan, and saved preferences.
func (s *State) OfUser() bool { return len(s.Cooling) == 0 && len(s.Measured) == 0 && s.Sticky == "" }

// patch is a PATCH of preferences. A list that was not given is left out; an empty one
// is not.
type patch struct {
	Preferred []string         `json:"preferredProviders,omitzero"`
	Excluded  []string         `json:"excludedProviders,omitzero"`
	Fallback  *bool            `json:"enableFallback,omitempty"`
	Models    map[string]patch `json:"modelOverrides,omitempty"`
}

func (s *Saved) patch() (p patch) {
	p.Preferred, p.Excluded = s.Preferred, s.Excluded
	if s.Fallback != "" {
		on := s.Fallback == "on"
		p.Fallback = &on
	}
	return p
}

// Patch is the PATCH that saves what the state says of saved preferences; nil if that is
// nothing. A user may not exclude everybody who serves some model (PREF-3), but cases
// mean only the model that they ask for: others that would be left without a provider
// are exempt.
func (s *State) Patch(c *catalog.Catalog, asked *catalog.Model) []byte {
	if s.Saved == nil && len(s.Overrides) == 0 {
		return nil
	}
	var p patch
	if s.Saved != nil {
		p = s.Saved.patch()
	}
	p.Models = make(map[string]patch)
	for id, o := range s.Overrides {
		if m, ok := c.Model(id); ok {
			id = m.ID
		}
		p.Models[id] = o.patch()
	}
	for _, m := range c.Models {
		if _, ok := p.Models[m.ID]; !ok && m != asked && leavesNobody(p.Excluded, m) {
			p.Models[m.ID] = patch{Excluded: []string{}}
		}
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings, lists and booleans always marshal
	}
	return body
}

func leavesNobody(excluded []string, m *catalog.Model) bool {
	return !slices.ContainsFunc(m.Offers, func(o *catalog.Offer) bool {
		return o.Enabled && !slices.Contains(excluded, o.Provider.Slug)
	})
}
