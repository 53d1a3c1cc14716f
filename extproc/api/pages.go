package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/shopspring/decimal"

	"github.com/shunt-gateway/shunt/catalog"
)

// page is one answer's body and its strong entity tag.
type page struct {
	body []byte
	etag string
}

// newPage tags a body with the catalog's version, the resource, and the body
// itself, which another release of shunt may render otherwise.
func newPage(c *catalog.Catalog, resource string, body []byte) page {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q ", c.Hash, resource)
	h.Write(body)
	return page{body: body, etag: `"` + hex.EncodeToString(h.Sum(nil)[:16]) + `"`}
}

// pages are the answers from one catalog, each rendered when it is first asked for
// and then kept for as long as the catalog is the current one.
type pages struct {
	catalog      *catalog.Catalog
	brief, whole func() modelPages
	providers    map[*catalog.Model]func() page
	engines      func() page
}

func newPages(c *catalog.Catalog) *pages {
	p := &pages{
		catalog:   c,
		brief:     sync.OnceValue(func() modelPages { return renderModels(c, "models", briefly) }),
		whole:     sync.OnceValue(func() modelPages { return renderModels(c, "models?detailed", inDetail) }),
		providers: make(map[*catalog.Model]func() page, len(c.Models)),
		engines:   sync.OnceValue(func() page { return renderEngines(c) }),
	}
	for _, m := range c.Models {
		p.providers[m] = sync.OnceValue(func() page { return renderProviders(c, m) })
	}
	return p
}

func (p *pages) models(detailed bool) modelPages {
	if detailed {
		return p.whole()
	}
	return p.brief()
}

// list is OpenAI's shape of one.
type list[T any] struct {
	Object string `json:"object"`
	Data   []T    `json:"data"`
}

func listOf[T any](data []T) list[T] { return list[T]{Object: "list", Data: data} }

// mustJSON marshals this package's own shapes, which always can be.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("api: marshal %T: %v", v, err))
	}
	return b
}

// number is a decimal as a JSON number with all its digits.
func number(d decimal.Decimal) json.Number { return json.Number(d.String()) }
