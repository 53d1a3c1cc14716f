package billing

import (
	"flag"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

var admitted = time.Date(2026, 11, 22, 10, 0, 0, 123456000, time.UTC)

func dec(s string) decimal.Decimal { return decimal.RequireFromString(s) }

func null(s string) decimal.NullDecimal {
	if s == "" {
		return decimal.NullDecimal{}
	}
	return decimal.NewNullDecimal(dec(s))
}

// price is prompt, completion, cache read, cache write ("": none), request.
func price(p, c, read, write, request string) *catalog.Price {
	return &catalog.Price{Prompt: dec(p), Completion: dec(c), CacheRead: null(read), CacheWrite: null(write), Request: dec(request)}
}

// testCatalog has two models. kimi is offered by novita (cache prices), acme (a
// price per request) and cheap (no price); glm by acme alone, and has no default
// price; free has none at all.
func testCatalog() (*catalog.Catalog, map[string]*catalog.Offer) {
	provider := func(slug string) *catalog.Provider { return &catalog.Provider{Slug: slug} }
	novita, acme, cheap := provider("novita"), provider("acme"), provider("cheap")
	kimi := &catalog.Model{ID: "moonshotai/kimi-k2.6", Price: price("0.5", "2.6", "", "", "0")}
	glm := &catalog.Model{ID: "zai/glm-5", Price: price("0.3", "1.1", "", "", "0.0001")}
	bare := &catalog.Model{ID: "bare"}
	offers := map[string]*catalog.Offer{
		"novita":   {Model: kimi, Provider: novita, Upstream: "moonshotai/Kimi-K2.6", Price: price("0.6", "2.5", "0.15", "0.75", "0")},
		"acme":     {Model: kimi, Provider: acme, Upstream: "kimi-k2-6", Price: price("0.55", "2.4", "", "", "0.002")},
		"cheap":    {Model: kimi, Provider: cheap, Upstream: "kimi"},
		"acme-glm": {Model: glm, Provider: acme, Upstream: "glm-5", Price: price("0.25", "1", "0", "", "0")},
		"bare":     {Model: bare, Provider: novita, Upstream: "bare-1"},
	}
	return &catalog.Catalog{
		Hash:    "6b1ae52c9f3d4e0f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f",
		Billing: catalog.Billing{Markup: dec("0.05"), Currency: "USD"},
	}, offers
}

// decide is a decision for these offers, the first one's model being the primary.
func decide(kind policy.Kind, offers ...*catalog.Offer) *policy.Decision {
	d := &policy.Decision{Kind: kind, Model: offers[0].Model}
	for _, o := range offers {
		d.Attempts = append(d.Attempts, policy.Attempt{Offer: o})
	}
	return d
}

func facts(c *catalog.Catalog) *Facts {
	return &Facts{
		ID: "0b9c1f2e-6f0a-4a53-9d1b-0d2a6f1c7e11", Source: "shunt/a", StartedAt: admitted,
		API: catalog.Chat, RequestedModel: "kimi-k2.6", Subject: "5f0c9a8b7e6d5c4b3a29180706f5e4d3",
		RequestBytes: 4096, Catalog: c,
	}
}

// travelled is the quote after its way through Envoy.
func travelled(t testing.TB, q Quote) *Quote {
	t.Helper()
	out, err := ParseQuote(string(q.AppendJSON(nil)))
	if err != nil {
		t.Fatalf("a quote does not survive its JSON: %v\n%s", err, q.AppendJSON(nil))
	}
	return out
}
