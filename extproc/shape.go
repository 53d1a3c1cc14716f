package extproc

import (
	"time"

	"github.com/tidwall/gjson"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/identity"
	"github.com/shunt-gateway/shunt/extproc/openai"
	"github.com/shunt-gateway/shunt/policy/sticky"
)

// stickyKey names the conversation of a request: who asks, for which model, and what
// a provider's prompt cache would look at (CACHE-2).
func (d *Decider) stickyKey(rd *reading) sticky.Key {
	h := d.Keyer.Begin(d.conversant(&rd.headers.caller), rd.req.Model.ID)
	shape(h, rd.api, &rd.object)
	return h.Sum()
}

// recall looks up the provider that served the conversation last and returns the key
// under which the next one is to be recorded; "" where the request wants neither.
func (d *Decider) recall(rd *reading, now time.Time) string {
	if d.Sticky == nil || !rd.req.WantsSticky {
		return ""
	}
	key := d.stickyKey(rd)
	if slug, ok := d.Sticky.Lookup(key, now); ok {
		rd.req.Sticky, _ = rd.snap.Catalog.Provider(slug)
	}
	return key.String()
}

// conversant is the session, else the user, else the API key.
func (d *Decider) conversant(c *identity.Caller) string {
	if c.Session != "" {
		return "session " + d.Hasher.User([]byte(c.Session))
	}
	return d.subject(c)
}

// shape feeds the parts of a body that make a cached prefix: tools, system and
// developer messages, and the first other message.
func shape(h sticky.Hash, api catalog.API, o *openai.Object) {
	if tools, ok := o.Get("tools"); ok {
		h.Tools(tools)
	}
	switch api {
	case catalog.Chat:
		if v, ok := o.Get("messages"); ok {
			messages(h, v)
		}
		if v, ok := o.Get("prompt"); ok { // talk-to-gpt
			h.First(v)
		}
	case catalog.Completions:
		if v, ok := o.Get("prompt"); ok {
			h.First(v)
		}
	case catalog.Responses:
		if v, ok := o.Get("instructions"); ok {
			h.Instruction(v)
		}
		if v, ok := o.Get("input"); ok {
			messages(h, v)
		}
	}
}

// messages walks a list of messages; anything else is a first message itself.
func messages(h sticky.Hash, raw []byte) {
	list := gjson.ParseBytes(raw)
	if !list.IsArray() {
		h.First(raw)
		return
	}
	first := false
	list.ForEach(func(_, m gjson.Result) bool {
		switch m.Get("role").String() {
		case "system", "developer":
			h.Instruction([]byte(m.Raw))
		default:
			if !first {
				first = true
				h.First([]byte(m.Raw))
			}
		}
		return true
	})
}
