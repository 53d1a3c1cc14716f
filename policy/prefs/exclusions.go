package prefs

import "github.com/shunt-gateway/shunt/catalog"

// providerSet are the providers that slugs name today: a slug may have been saved
// under an older catalog, where it was a name that is an alias by now.
type providerSet map[*catalog.Provider]bool

func setOf(slugs []string, c *catalog.Catalog) providerSet {
	set := make(providerSet, len(slugs))
	for _, slug := range slugs {
		if p, ok := c.Provider(slug); ok {
			set[p] = true
		}
	}
	return set
}

// exclusions refuses exclusions that leave a model without a provider (PREF-3). A
// model that no provider serves anyway is not theirs to answer for, nor is one that
// ignores preferences (REQ-4). What this PATCH does not touch is not held against it:
// after a change of the catalog, a user must still be able to change the rest.
func (p *patch) exclusions() *Problem {
	if !p.all && len(p.some) == 0 {
		return nil
	}
	global, over := setOf(p.doc.Excluded, p.catalog), p.overridden()
	for _, m := range p.catalog.Models {
		if !m.ProviderSelection || !p.all && !p.some[m] {
			continue
		}
		excluded, param := global, fieldExcluded
		if set, ok := over[m]; ok {
			excluded, param = set, fieldModels+"["+quote(m.ID)+"]."+fieldExcluded
		}
		// PREF-3: exclusions that leave a model without a provider: 400
		// `INVALID_EXCLUSIONS`.
		if excluded.leavesNobody(m) {
			return &Problem{Status: 400, Code: CodeInvalidExclusions, Param: param,
				Message: param + " leaves model " + quote(m.ID) + " without a provider"}
		}
	}
	return nil
}

// overridden are the models with exclusions of their own.
func (p *patch) overridden() map[*catalog.Model]providerSet {
	over := make(map[*catalog.Model]providerSet, len(p.doc.Models))
	for id, o := range p.doc.Models {
		if m, ok := p.catalog.Model(id); ok && o.Excluded != nil {
			over[m] = setOf(o.Excluded, p.catalog)
		}
	}
	return over
}

// leavesNobody: m has enabled offers, and all of them are excluded.
func (s providerSet) leavesNobody(m *catalog.Model) bool {
	enabled := false
	for _, o := range m.Offers {
		if !o.Enabled {
			continue
		}
		if !s[o.Provider] {
			return false
		}
		enabled = true
	}
	return enabled
}
