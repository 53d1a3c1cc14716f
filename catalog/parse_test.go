package catalog

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func parse(t testing.TB, text string) *Catalog {
	t.Helper()
	c, err := Parse(Source{Name: "shunt.yaml", Data: []byte(text), Dir: "/etc/shunt"})
	if err != nil {
		t.Fatalf("parse:\n%v", err)
	}
	return c
}

func full(t testing.TB) (*Catalog, []byte) {
	t.Helper()
	data, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(data)), data
}

// equal compares what a test says with what there is.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

func TestDefaults(t *testing.T) {
	c := parse(t, complete(""))
	equal(t, "listen", c.Listen, "127.0.0.1:10000")
	equal(t, "admin", c.Admin, "127.0.0.1:10001")
	equal(t, "admin_token", c.AdminToken.IsZero(), true)
	equal(t, "data_dir", c.DataDir, "/etc/shunt/.shunt")
	equal(t, "limits", c.Limits, Limits{Body: 32 << 20})
	equal(t, "routing", c.Routing, Routing{
		Sort: SortLatency, MaxAttempts: 6, StickyTTL: 10 * time.Minute,
		FallbackOn: FallbackOn{true, true, true, true, []int{401, 402, 403, 404, 408, 429}},
		Health: Health{
			Measured: true, Cooldowns: true,
			Window: 5 * time.Minute, MinSamples: 10, Explore: 0.02,
			Cooldown: 10 * time.Second, RefusalCooldown: time.Minute, MaxCooldown: 5 * time.Minute,
			ConsecutiveFailures: 5, ErrorRate: 0.5, MinRequests: 20, Probe: 0.1, ProbeSuccesses: 3,
		},
	})
	equal(t, "retry budget", parse(t, complete("routing: {retry_budget: {}}\n")).Routing.RetryBudget, &RetryBudget{Share: 0.2, PerSecond: 10})
	equal(t, "markup", c.Billing.Markup.String(), "0.05")
	equal(t, "currency", c.Billing.Currency, "USD")
	equal(t, "sinks", c.Billing.Sinks, []Sink{{File: "/etc/shunt/.shunt/events.jsonl"}})
	equal(t, "durability", c.Billing.Durability, Durability{
		Flush: 20 * time.Millisecond, SettleTimeout: time.Minute, Outbox: Outbox{MaxBytes: 1 << 30, Tries: 20},
		Journal: Journal{Rotate: 16 << 20},
	})
	equal(t, "identity", c.Identity, Identity{APIKeyHeader: "authorization"})
	equal(t, "state", c.State, State{
		NATS: "embedded", Prefix: "shunt", Replicas: 1, Cache: StateCache{Preferences: 64 << 20, Sticky: 256 << 20},
	})
	equal(t, "no servers", [...]any{c.State.Embedded(), len(c.State.Servers())}, [...]any{true, 0})
	p, _ := c.Provider("novita")
	equal(t, "provider", *p, Provider{
		Slug: "novita", Name: "novita", Endpoint: Endpoint{"https", "api.novita.ai", 443, "/v3"},
		Timeout: Timeouts{2 * time.Second, 20 * time.Second, time.Minute},
	})
	m, _ := c.Model("kimi")
	equal(t, "model", [...]any{m.Name, m.ProviderSelection, m.Price, m.DefaultProviders}, [...]any{"kimi", true, (*Price)(nil), []*Provider(nil)})
	equal(t, "offer", *m.Offers[0], Offer{
		Model: m, Provider: p, Upstream: "m", PriceRank: UnpricedRank, StreamUsage: true, Enabled: true,
		APIs: APISet(0).With(Chat).With(Completions),
	})
	v := parse(t, complete("variants: {auto: {model: kimi}}\n")).Variants[0]
	equal(t, "variant", [...]any{v.Sort, v.AllowFallbacks}, [...]any{SortUnset, true})
	j := parse(t, complete("identity: {jwt: {issuer: a, jwks: {file: jwks.json}}}\n")).Identity.JWT
	equal(t, "jwt", *j, JWT{Issuer: "a", JWKSFile: "/etc/shunt/jwks.json", UserClaim: "sub", PlanClaim: "plan"})
}

func TestDefaultSinkIsInDataDir(t *testing.T) {
	c := parse(t, complete("data_dir: state\n"))
	equal(t, "sinks", c.Billing.Sinks, []Sink{{File: "/etc/shunt/state/events.jsonl"}})
}

func TestFull(t *testing.T) {
	c, _ := full(t)
	equal(t, "addresses", [...]string{c.Listen, c.Admin, c.DataDir}, [...]string{"0.0.0.0:8080", "[::]:9090", "/var/lib/shunt"})
	equal(t, "body", c.Limits.Body, int64(16<<20))
	var slugs []string
	for _, p := range c.Providers {
		slugs = append(slugs, p.Slug)
	}
	equal(t, "providers", slugs, []string{"framerate", "local", "novita", "together"})
	equal(t, "timeouts through an alias", c.Providers[3].Timeout, Timeouts{time.Second, 30 * time.Second, 2 * time.Minute})
	equal(t, "local", c.Providers[1].Endpoint, Endpoint{"http", "127.0.0.1", 8000, "/v1"})

	kimi, _ := c.Model("kimi-k2.6")
	equal(t, "model", kimi.ID, "moonshotai/kimi-k2.6")
	equal(t, "default_providers", kimi.DefaultProviders, []*Provider{c.Providers[3], c.Providers[2]})
	o := kimi.Offers[0]
	equal(t, "cache_read", o.Price.CacheRead.Decimal.String(), "0.15")
	equal(t, "request", o.Price.Request.String(), "0.0001")
	equal(t, "parameters", o.Parameters.Names(), []string{"tools", "tool_choice", "response_format", "seed"})
	equal(t, "estimate", o.Estimate, Estimate{300 * time.Millisecond, 80})
	equal(t, "distillation", o.Distillation.Basis, "permissive-open-weights")
	equal(t, "stream_usage", kimi.Offers[1].StreamUsage, false)
	equal(t, "engines", kimi.Offers[2].Engines, c.Engines)
	equal(t, "enabled", kimi.Offers[2].Enabled, false)

	v := c.Variants[0]
	equal(t, "variant", [...]any{v.Name, v.Sort, v.AllowFallbacks, len(v.Order), v.Ignore[0].Slug, v.Models[0]},
		[...]any{"auto-provider", SortPrice, false, 2, "framerate", kimi})
	equal(t, "routing", c.Routing, Routing{
		Sort: SortThroughput, MaxAttempts: 4, FallbackOn: FallbackOn{true, true, true, true, []int{408, 429}},
		StickyTTL: 30 * time.Minute, ResponseProvider: ResponseProviderHeader, OnFilterFailure: FilterFailureAllow, Explain: true,
		Dialects: map[string]Dialect{
			"/v1/chat/completions": DialectExact, "/api/v1/chat/completions": DialectPrefer, "/v1/responses": DialectPrefer,
		},
		Health: Health{
			Measured: true, Cooldowns: true,
			Window: 2 * time.Minute, MinSamples: 20, Explore: 0.05,
			Cooldown: 5 * time.Second, RefusalCooldown: 2 * time.Minute, MaxCooldown: 10 * time.Minute,
			ConsecutiveFailures: 3, ErrorRate: 0.4, MinRequests: 50, Probe: 0.25, ProbeSuccesses: 5,
		},
		Deadline: 45 * time.Second, FallbackWithin: 20 * time.Second, RetryBudget: &RetryBudget{Share: 0.1, PerSecond: 5},
	})
	equal(t, "markup", c.Billing.Markup.String(), "0.075")
	equal(t, "sinks", c.Billing.Sinks, fullSinks())
	equal(t, "model's markup first", c.Billing.MarkupFor(o).String(), "0.04")
	equal(t, "tiers", [...]any{len(o.Price.Tiers), o.Price.At(128000).Prompt.String(), o.Price.At(128001).Prompt.String(), o.Price.At(128001).Request.String()},
		[...]any{1, "0.6", "1.2", "0.0001"})
	equal(t, "durability", c.Billing.Durability, Durability{
		Flush: 5 * time.Millisecond, SettleTimeout: 2 * time.Minute, Outbox: Outbox{MaxBytes: 4 << 30, OnFull: OnFullDropOldest, Tries: 7},
		Journal: Journal{Path: "/run/shunt-journal/ends.jsonl", Rotate: 64 << 20},
	})
	equal(t, "identity", c.Identity, Identity{
		APIKeyHeader: "x-api-key",
		JWT:          &JWT{"https://id.example", []string{"shunt"}, "", "https://id.example/.well-known/jwks.json", "email", "tier"},
		Trusted:      &TrustedHeaders{"x-user-id", "x-session-id", "x-user-plan", "x-edge-secret", newSecret("", "/run/secrets/edge")},
	})
	equal(t, "state", c.State, State{
		NATS: "tls://n1.nats.example:4222,tls://n2.nats.example", Prefix: "shunt-eu", Credentials: "/run/secrets/nats.creds",
		TLS:      StateTLS{CA: "/etc/shunt/nats/ca.pem", Cert: "/etc/shunt/nats/cert.pem", Key: "/etc/shunt/nats/key.pem"},
		Replicas: 3, Cache: StateCache{Preferences: 32 << 20, Sticky: 128 << 20},
	})
	equal(t, "servers", c.State.Servers(), []string{"tls://n1.nats.example:4222", "tls://n2.nats.example"})
	equal(t, "passthrough", c.Passthrough, []Passthrough{
		{Path: "/v1/embeddings", Endpoint: Endpoint{"http", "127.0.0.1", 9000, ""}},
		{Prefix: "/files/", Endpoint: Endpoint{"https", "files.example", 443, ""}},
	})
	for i, o := range c.Offers() {
		equal(t, "index", o.Index, i)
	}
}

// TestJSON reads the full example as JSON, which is YAML too.
func TestJSON(t *testing.T) {
	want, data := full(t)
	var tree map[string]any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(tree, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(Source{Name: "shunt.json", Data: text, Dir: "/etc/shunt"})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(want.Routing)
	b, _ := json.Marshal(got.Routing)
	equal(t, "routing", string(b), string(a))
	equal(t, "offers", len(got.Offers()), len(want.Offers()))
	equal(t, "price", got.Models[1].Offers[0].Price.CacheRead.Decimal.String(), "0.15")
}

// testdata/example.yaml shows the whole format in short. It refers to a provider and
// a model that it does not define; nothing else in it is wrong.
func TestExample(t *testing.T) {
	data, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "as it is", outcome(string(data)), `shunt.yaml:31:43: engines.hyperframes.default_provider: unknown provider "framerate"
shunt.yaml:32:35: variants.auto-provider.model: unknown model "gpt-oss-120b"
`)
	equal(t, "completed", outcome(strings.Replace(string(data), "\nmodels:\n", `
  framerate: {endpoint: "https://framerate.example"}
models:
  gpt-oss-120b: {offers: [{provider: framerate, model: gpt}]}
`, 1)), "ok\n")
}

// Unquoted references inside { } mean what quoted ones do, positions included.
func TestReferencesInsideBraces(t *testing.T) {
	const quoted = `
providers: {a: {name: "x${N}", endpoint: "https://a.example", api_key: "${A}:${B}"}, b: {endpoint: "https://b.example", api_key: "t-${C}"}}
models: {m: {offers: [{provider: a, model: "${M}"}]}}
`
	unquoted := strings.NewReplacer(`"$`, `$`, `}"`, `}`, `"x`, `x`, `"t`, `t`).Replace(quoted)
	a, b := parse(t, quoted), parse(t, unquoted)
	for i := range a.Providers {
		equal(t, "provider", *b.Providers[i], *a.Providers[i])
	}
	equal(t, "name", b.Providers[0].Name, "x${N}")
	equal(t, "upstream", b.Models[0].Offers[0].Upstream, "${M}")
	equal(t, "position", b.Secrets()[1].Col, strings.Index(strings.Split(unquoted, "\n")[1], "t-$")+1)
	for _, text := range []string{"{a: ${A}", "a: {b: ${A}, c: [}}", "a: {b: ${not a name}}", "\ue000a: {b: ${A}}"} {
		if _, err := Parse(Source{Name: "shunt.yaml", Data: []byte(text), Dir: "/"}); err == nil || !strings.Contains(err.Error(), "not valid YAML") {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestManyFaultsComeAtOnceAndSorted(t *testing.T) {
	var b strings.Builder
	b.WriteString("models:\n  kimi:\n    offers:\n")
	for range maxFaults + 50 {
		b.WriteString("      - {provider: novitaa, model: m}\n")
	}
	_, err := Parse(Source{Name: "shunt.yaml", Data: []byte(complete(b.String())), Dir: "/"})
	fs := err.(Faults)
	equal(t, "faults", len(fs), maxFaults+1)
	equal(t, "last", fs[maxFaults].Message, "too many faults: these 10000 may not be all")
	for i := 1; i < len(fs); i++ {
		if fs[i].Line < fs[i-1].Line {
			t.Fatalf("line %d is behind line %d", fs[i].Line, fs[i-1].Line)
		}
	}
}

// An alias bomb is refused after a bounded amount of work.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("models:\n  m0:\n    offers: &o\n")
	for range 2000 {
		b.WriteString("      - {provider: novita, model: m, parameters: [tools, seed]}\n")
	}
	for i := range 5000 {
		b.WriteString(fmt.Sprintf("  n%d: {offers: *o}\n", i))
	}
	_, err := Parse(Source{Name: "shunt.yaml", Data: []byte(complete(b.String())), Dir: "/"})
	if err == nil || !strings.Contains(err.Error(), "aliases stand for more than 1000000 values") {
		t.Fatalf("got %v", err)
	}
}

// A value that contains itself ends where the schema does.
func TestCycles(t *testing.T) {
	for _, text := range []string{
		"&a\nlisten: *a\n",
		"providers: &p\n  novita: *p\n",
		"providers: &p {novita: {endpoint: 'https://a.example', timeout: *p}}\n",
		"models: {kimi: {offers: &o [*o, {provider: novita, model: *o}]}}\n",
	} {
		if got := outcome(complete(text)); got == "ok\n" {
			t.Errorf("%s was accepted", text)
		}
	}
}

func TestHash(t *testing.T) {
	base := complete("admin_token: ${T}\n")
	a, b := parse(t, base), parse(t, base+"# a comment\n")
	if a.Hash == b.Hash || len(a.Hash) != 64 {
		t.Errorf("references: got %s and %s, want two hashes of bytes", a.Hash, b.Hash)
	}
	// sha256sum of the text.
	equal(t, "bytes", parse(t, base).Hash, a.Hash)

	one := parse(t, complete("admin_token: sk-one-${T}\n"))
	two := parse(t, complete("admin_token: sk-two-${T}\n"))
	equal(t, "literals are blanked", one.Hash, two.Hash)
	for _, other := range []string{
		"admin_token: ${T}\n", "admin_token: sk-one-${U}\n", "admin_token: ${T}sk-one\n",
		"admin_token: sk-one-${T}\nlisten: 127.0.0.1:1\n", "admin_token: {file: sk-one}\n",
	} {
		if parse(t, complete(other)).Hash == one.Hash {
			t.Errorf("%q has the hash of another configuration", other)
		}
	}
	if one.AdminToken == two.AdminToken {
		t.Error("two literals are one secret")
	}
}

func TestPriceRank(t *testing.T) {
	c := parse(t, `
providers: {a: {endpoint: "http://a.example"}, b: {endpoint: "http://b.example"}, c: {endpoint: "http://c.example"}}
models:
  x: {offers: [{provider: a, model: m, price: {prompt: 0.1, completion: 0.2}}, {provider: b, model: m}, {provider: c, model: m, price: {prompt: "0.300000000000000001", completion: 0}}]}
  y: {offers: [{provider: a, model: m, price: {prompt: 0.30, completion: 0.0}}, {provider: b, model: m, price: {prompt: 0, completion: 0}, enabled: false}]}
`)
	var ranks []int
	for _, o := range c.Offers() {
		ranks = append(ranks, o.PriceRank)
	}
	equal(t, "ranks", ranks, []int{1, UnpricedRank, 2, 1, 0})
}

func TestDialectFor(t *testing.T) {
	r := Routing{Dialects: map[string]Dialect{
		"/v1/chat/completions": DialectExact, "/v1/responses": DialectPrefer,
		"/v1/completions": DialectExact, "/api/v1/completions": DialectPrefer,
	}}
	var none Routing
	for _, tt := range []struct {
		path             string
		configured, none Dialect
	}{
		{"/v1/chat/completions", DialectExact, DialectPrefer},
		{"/api/v1/chat/completions", DialectExact, DialectPrefer},
		{"/v1/completions", DialectExact, DialectPrefer},
		{"/api/v1/completions", DialectPrefer, DialectPrefer},
		{"/v1/responses", DialectPrefer, DialectExact},
		{"/api/v1/responses", DialectPrefer, DialectExact},
		{"/api/talk-to-gpt", DialectPrefer, DialectPrefer},
	} {
		equal(t, tt.path, [2]Dialect{r.DialectFor(tt.path), none.DialectFor(tt.path)}, [2]Dialect{tt.configured, tt.none})
	}
}

func TestAmounts(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "0.0": "0", "0.50": "0.5", ".5": "0.5", "5.": "5", "+1": "1", "1e3": "1000", "1.5E-3": "0.0015",
		"100e-2": "1", "0.000000000000000001": "0.000000000000000001", "999999999999": "999999999999",
		"0.60": "0.6", "123456789012.123456789012345678": "123456789012.123456789012345678",
	} {
		got, err := parseAmount(in)
		if err != nil || got.String() != want {
			t.Errorf("%s: got %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", ".", "e1", "1e", "1e+", "1e1.5", "--1", "+-1", "1 ", " 1", "1e--1", "1e1e1", "1..2", "٣", "1e12", "00.5"} {
		if got, err := parseAmount(in); err == nil {
			t.Errorf("%q is %s", in, got)
		}
	}
}

// max_cooldown bounds the defaults of the cooldowns that are not given.
func TestMaxCooldownBoundsDefaults(t *testing.T) {
	for text, want := range map[string][2]bool{
		"":                 {true, true},
		"enabled: true":    {true, true},
		"enabled: false":   {false, false},
		"measured: false":  {false, true},
		"cooldowns: false": {true, false},
	} {
		h := parse(t, complete("routing: {health: {"+text+"}}\n")).Routing.Health
		if got := [2]bool{h.Measured, h.Cooldowns}; got != want {
			t.Errorf("%s: measured and cooldowns are %v, want %v", text, got, want)
		}
	}
	h := parse(t, complete("routing: {health: {max_cooldown: 5s, refusal_cooldown: 4s}}\n")).Routing.Health
	equal(t, "cooldowns", [...]time.Duration{h.Cooldown, h.RefusalCooldown, h.MaxCooldown},
		[...]time.Duration{5 * time.Second, 4 * time.Second, 5 * time.Second})
}
