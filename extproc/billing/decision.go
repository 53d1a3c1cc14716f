package billing

import (
	"github.com/shopspring/decimal"

	"github.com/shunt-gateway/shunt/catalog"
)

// DecisionData says what chose the providers, under which catalog, and what else
// was there to choose from, so that a charge can be explained from its event alone.
type DecisionData struct {
	Kind    string `json:"kind"`
	Catalog string `json:"catalog"`
	// Tiers are those of the price that holds, from the price itself (above 0)
	// upwards; nil: it has none.
	Tiers []TierData `json:"tiers"`
	// Chain holds the offers that were to be tried, in order, and LeftOut the others
	// that could have been thought of. Together they have at most maxDecision bytes;
	// the Cuts count what did not fit.
	Chain      []ChainData   `json:"chain"`
	ChainCut   int           `json:"chain_cut"`
	LeftOut    []LeftOutData `json:"left_out"`
	LeftOutCut int           `json:"left_out_cut"`
}

// ChainData is an offer that was to be tried, at its own price.
type ChainData struct {
	Provider      Text       `json:"provider"`
	UpstreamModel Text       `json:"upstream_model"`
	Price         *PriceData `json:"price"`           // what an explicit selection of it costs; nil: unknown
	Model         string     `json:"model,omitempty"` // of a fallback model
}

// LeftOutData is an offer that was not to be tried.
type LeftOutData struct {
	Provider Text   `json:"provider"`
	Reason   Text   `json:"reason"`
	Model    string `json:"model,omitempty"` // of a fallback model
}

// TierData is one tier of a price.
type TierData struct {
	Above      int64               `json:"above"`
	Prompt     decimal.Decimal     `json:"prompt"`
	Completion decimal.Decimal     `json:"completion"`
	CacheRead  decimal.NullDecimal `json:"cache_read"`
	CacheWrite decimal.NullDecimal `json:"cache_write"`
}

// maxDecision bounds what chain and left_out add to an event, in bytes of JSON.
// The chain comes first, since it holds the prices, but leaves a quarter to the
// others.
const (
	maxDecision = 2048
	maxChain    = maxDecision * 3 / 4
)

// decision is what the event says of the choice; p is the price that holds.
func (q *Quote) decision(p *catalog.Price) DecisionData {
	d := DecisionData{
		Kind: q.Kind.String(), Catalog: q.Catalog, Tiers: tiersOf(p),
		Chain: make([]ChainData, 0, len(q.Offers)), LeftOut: make([]LeftOutData, 0, len(q.Left)), LeftOutCut: q.LeftCut,
	}
	size := 0
	for i := range q.Offers {
		o := &q.Offers[i]
		c := ChainData{Provider: Text(o.Provider), UpstreamModel: Text(o.Upstream), Model: o.Model, Price: priceData(o.Price, q.markup(o))}
		if size += c.size(); size > maxChain {
			d.ChainCut = len(q.Offers) - i
			size -= c.size()
			break
		}
		d.Chain = append(d.Chain, c)
	}
	for i, l := range q.Left {
		e := LeftOutData{Provider: Text(l.Provider), Reason: Text(l.Reason), Model: l.Model}
		if size += e.size(); size > maxDecision {
			d.LeftOutCut += len(q.Left) - i
			break
		}
		d.LeftOut = append(d.LeftOut, e)
	}
	return d
}

// size is how many bytes of JSON the entry has at most.
func (c *ChainData) size() int {
	n := len(`{"provider":null,"upstream_model":null,"price":null,"model":""},`) + jsonSize(string(c.Provider)) + jsonSize(string(c.UpstreamModel)) + jsonSize(c.Model)
	if p := c.Price; p != nil {
		n += len(`{"prompt":,"completion":,"cache_read":null,"cache_write":null,"request":,"markup":}`)
		var room [128]byte
		for _, x := range []decimal.Decimal{p.Prompt, p.Completion, p.CacheRead.Decimal, p.CacheWrite.Decimal, p.Request, p.Markup} {
			n += len(appendDecimal(room[:0], x))
		}
	}
	return n
}

func (l *LeftOutData) size() int {
	return len(`{"provider":null,"reason":null,"model":""},`) + jsonSize(string(l.Provider)) + jsonSize(string(l.Reason)) + jsonSize(l.Model)
}

// jsonSize is how many bytes s has as a JSON string at most, quotes included.
func jsonSize(s string) int {
	n := 2
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~' || c == '<' || c == '>' || c == '&':
			n += len(`\u0000`)
		case c == '"' || c == '\\':
			n += 2
		default:
			n++
		}
	}
	return n
}

func tiersOf(p *catalog.Price) []TierData {
	if p == nil || len(p.Tiers) == 0 {
		return nil
	}
	list := []TierData{{Prompt: p.Prompt, Completion: p.Completion, CacheRead: p.CacheRead, CacheWrite: p.CacheWrite}}
	for _, t := range p.Tiers {
		list = append(list, TierData(t))
	}
	return list
}

func priceData(p *catalog.Price, markup decimal.Decimal) *PriceData {
	if p == nil {
		return nil
	}
	return &PriceData{
		Prompt: p.Prompt, Completion: p.Completion, CacheRead: p.CacheRead, CacheWrite: p.CacheWrite,
		Request: p.Request, Markup: markup,
	}
}
