package catalog

import (
	"time"

	"github.com/shopspring/decimal"
)

// Catalog is one validated configuration. It is never changed after Parse
// returns it: a reload makes a new one and swaps a pointer, and a request reads
// one Catalog from its first byte to its last.
type Catalog struct {
	// Hash names this version: hex SHA-256 over the file's bytes. Where a secret
	// stands in the file as a literal, it is over the parsed file with the literal
	// blanked: nobody can try out secrets on it, and a file that differs in a
	// literal, in comments or in spacing alone has the same Hash.
	Hash string

	Listen     string // IP:port of Envoy's client-facing listener; port 0: any
	Admin      string // IP:port of health, metrics and console
	AdminToken Secret // what admin asks for; never zero where Admin is off loopback (SEC-3)
	DataDir    string // absolute path; what must survive a restart

	Limits      Limits
	Providers   []*Provider // sorted by slug
	Models      []*Model    // in the file's order
	Engines     []*Engine   // sorted by name
	Variants    []*Variant  // sorted by name
	Routing     Routing
	Billing     Billing
	Identity    Identity
	State       State
	Telemetry   Telemetry
	Passthrough []Passthrough // in the file's order

	secrets   []SecretUse
	keySet    Fault // what is said where identity.jwt.jwks.file cannot be used
	offers    []*Offer
	providers map[string]*Provider // lower-cased slug, alias and name
	models    map[string]*Model    // id and alias, exact
	variants  map[string]*Variant
	engines   map[string]*Engine
}

// Offers returns every offer of the catalog; Offers()[i].Index == i.
func (c *Catalog) Offers() []*Offer { return c.offers }

// Limits bound what a client may send.
type Limits struct {
	// Body is the largest request body in bytes. Default 32 MiB; a larger body is
	// answered 413 request_too_large.
	Body int64
}

// Provider is a company or cluster that serves models over an OpenAI-style API.
type Provider struct {
	Slug     string // what clients send: novita
	Name     string // what people read: Novita
	Aliases  []string
	Endpoint Endpoint
	APIKey   Secret // the zero Secret: no credentials are sent
	Timeout  Timeouts
	Markup   decimal.NullDecimal // a factor; invalid: billing.markup. See Billing.MarkupFor.
}

// Endpoint is a provider's API base, taken apart once at load.
type Endpoint struct {
	Scheme string // http or https
	Host   string // host name or IP, without brackets
	Port   uint16 // never 0: 80 or 443 where the URL names none
	Path   string // base path without trailing slash: /v3/openai, or ""
}

// Timeouts of one attempt at a provider. None of them is 0.
type Timeouts struct {
	Connect   time.Duration // TCP and TLS handshake. Default 2s.
	FirstByte time.Duration // request sent to first response byte; fails over. Default 20s.
	Idle      time.Duration // longest silence between two response bytes. Default 60s.
}

// Model is a public id that clients ask for.
type Model struct {
	ID                string
	Name              string
	Aliases           []string
	ProviderSelection bool
	Price             *Price              // charged when the client selects nothing; nil: unknown
	Markup            decimal.NullDecimal // a factor; invalid: the provider's. See Billing.MarkupFor.
	DefaultProviders  []*Provider
	Offers            []*Offer // in the file's order, disabled ones included
}

// Offer is one provider serving one model.
type Offer struct {
	Index    int    // position in Catalog.Offers; health tables are indexed by it
	Model    *Model `json:"-"` // which lists its offers: JSON has no cycles
	Provider *Provider
	Upstream string // the provider's own model id
	Price    *Price // before markup; nil: unknown
	// PriceRank orders offers by prompt + completion base price over the whole
	// catalog, equal sums sharing a rank; an unpriced offer has UnpricedRank.
	PriceRank    int
	Caching      bool
	Tools        bool
	StreamUsage  bool // the provider understands stream_options.include_usage. Default true.
	Parameters   ParamSet
	APIs         APISet
	Engines      []*Engine
	Estimate     Estimate
	Distillation *Distillation
	Enabled      bool
}

// UnpricedRank is the PriceRank of an offer without a price: it sorts last.
const UnpricedRank = int(^uint(0) >> 1)

// Price is what tokens cost, in USD (or billing.currency) per 1,000,000 tokens,
// and Request per request.
type Price struct {
	Prompt     decimal.Decimal
	Completion decimal.Decimal
	CacheRead  decimal.NullDecimal // invalid: cached tokens cost Prompt (BILL-4)
	CacheWrite decimal.NullDecimal // invalid: written tokens cost Prompt (BILL-4)
	Request    decimal.Decimal
	Tiers      []Tier // by Above, ascending; see At
}

// Tier is what tokens cost in a request of more than Above prompt tokens: the whole
// request, not what is above. The price per request stays that of the Price.
type Tier struct {
	Above      int64 // prompt tokens
	Prompt     decimal.Decimal
	Completion decimal.Decimal
	CacheRead  decimal.NullDecimal // as in Price: invalid, Prompt of this tier
	CacheWrite decimal.NullDecimal
}

// At is the price of a request with so many prompt tokens: that of the last tier
// that they are above, without tiers of its own. Without tiers it is p.
func (p *Price) At(promptTokens int64) *Price {
	if len(p.Tiers) == 0 {
		return p
	}
	at := &Price{Prompt: p.Prompt, Completion: p.Completion, CacheRead: p.CacheRead, CacheWrite: p.CacheWrite, Request: p.Request}
	for i := range p.Tiers {
		if t := &p.Tiers[i]; promptTokens > t.Above {
			at.Prompt, at.Completion, at.CacheRead, at.CacheWrite = t.Prompt, t.Completion, t.CacheRead, t.CacheWrite
		}
	}
	return at
}

// Estimate stands in for measurements until there are some.
type Estimate struct {
	TTFT       time.Duration // 0: no estimate
	Throughput float64       // completion tokens per second; 0: no estimate
}

// Distillation is the provider's recorded policy on training with its output.
type Distillation struct {
	Status, Label, Basis, SourceURL, Note string
}

// Engine is a rendering engine that offers on /v1/responses can orchestrate.
type Engine struct {
	Name            string
	DefaultProvider *Provider
}

// Variant is a named selection that clients use like a model (SEL-15).
type Variant struct {
	Name           string
	Model          *Model
	Order          []*Provider
	Ignore         []*Provider
	Sort           Sort // SortUnset: none given
	AllowFallbacks bool // default true
	Models         []*Model
}

// Routing holds the platform's defaults for selection and fallback.
type Routing struct {
	Sort             Sort // default SortLatency
	MaxAttempts      int  // default 6; at most 16
	FallbackOn       FallbackOn
	StickyTTL        time.Duration      // default 10m
	ResponseProvider ResponseProvider   // default ResponseProviderBody
	Dialects         map[string]Dialect // by request path; see DialectFor
	OnFilterFailure  FilterFailure      // default FilterFailureDeny
	Explain          bool               // clients may send x-shunt-explain: 1. Default false.
	Health           Health

	// Deadline is how long a request may take to the first byte of an answer, all of its
	// attempts together. 0, the default: as long as they take.
	Deadline time.Duration
	// FallbackWithin: after a first attempt that took longer there is no other. 0, the
	// default: however long it took.
	FallbackWithin time.Duration
	RetryBudget    *RetryBudget // nil, the default: none
}

// FallbackOn is the set of outcomes after which the next attempt is made.
type FallbackOn struct {
	ConnectFailure, Reset, Timeout, ServerErrors bool
	Statuses                                     []int // sorted, 4xx and single 5xx
}

// Billing says how requests are charged and where events go.
type Billing struct {
	// Markup is a factor: 0.05 for "5%". It holds where neither model nor provider
	// has one of its own; see MarkupFor.
	Markup   decimal.Decimal
	Currency string // default USD
	Sinks    []Sink

	Durability Durability
}

// Identity says who a caller is.
type Identity struct {
	APIKeyHeader string // lower case; default "authorization"
	JWT          *JWT
	Trusted      *TrustedHeaders
}

// JWT is verified by Envoy; its claims name the user.
type JWT struct {
	Issuer    string
	Audiences []string
	JWKSFile  string // absolute path, or
	JWKSURI   string // https://…
	UserClaim string // default "sub"
	PlanClaim string // default "plan"
}

// TrustedHeaders come from an edge in front of Envoy and count only beside the
// secret.
type TrustedHeaders struct {
	User, Session, Plan string // header names, lower case
	SecretHeader        string // lower case
	Secret              Secret
}

// Passthrough sends requests whose path matches to one endpoint, untouched.
type Passthrough struct {
	Path     string // exact path, or
	Prefix   string // path prefix
	Endpoint Endpoint
}
