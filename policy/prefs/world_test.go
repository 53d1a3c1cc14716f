package prefs

import (
	"testing"

	"github.com/shunt-gateway/shunt/catalog"
)

// world has every kind of thing that preferences can be about: aliases, a model of
// one provider, a disabled offer, a model on which preferences have no effect, a
// model that nobody serves, a provider that serves nothing.
const world = `
providers:
  novita: {name: Novita AI, aliases: [novita-ai], endpoint: "https://a.example/v1"}
  together: {endpoint: "https://b.example/v1"}
  moonshot: {endpoint: "https://c.example/v1"}
  idle: {endpoint: "https://d.example/v1"}
  fixed: {endpoint: "https://e.example/v1"}
models:
  moonshotai/kimi-k2.6:
    aliases: [kimi]
    offers:
      - {provider: novita, model: m}
      - {provider: together, model: m}
      - {provider: moonshot, model: m, enabled: false}
  glm:5:
    offers: [{provider: together, model: m}, {provider: moonshot, model: m}]
  pinned: {provider_selection: false, offers: [{provider: fixed, model: m}]}
  gone: {offers: [{provider: idle, model: m, enabled: false}]}
`

func parse(t testing.TB, text string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Data: []byte(text), Dir: "/etc/shunt"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
