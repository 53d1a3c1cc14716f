package audit

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// mostTokens is the largest count that an event may have.
const mostTokens = 1_000_000_000

// checker collects what is wrong with one event.
type checker struct {
	e        *Event
	d        *Data
	problems []string
}

// Check is what in e does not follow from the rest of it; nil: all of it does.
func Check(e *Event) []string {
	c := &checker{e: e, d: &e.Data}
	if e.Type != EventType {
		return []string{fmt.Sprintf("type is %.64q, not %s", e.Type, EventType)}
	}
	c.envelope()
	c.words()
	c.usage()
	if len(c.problems) > 0 {
		return c.problems // what follows would only repeat it
	}
	c.tiers()
	c.chain()
	c.charge()
	return c.problems
}

func (c *checker) fail(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

func (c *checker) envelope() {
	switch e := c.e; {
	case e.SpecVersion != "1.0":
		c.fail("specversion is %.16q, not 1.0", e.SpecVersion)
	case e.ID == "" || e.Source == "":
		c.fail("id or source is missing")
	case !e.Time.Equal(e.Data.EndedAt):
		c.fail("time is %s, ended_at %s", e.Time, e.Data.EndedAt)
	case e.Data.EndedAt.Before(e.Data.StartedAt):
		c.fail("ended_at is before started_at")
	}
}

var (
	kinds    = []string{"default", "explicit", "suffix", "preference", "caching"}
	statuses = []string{"completed", "cancelled", "failed", "unsettled"}
	sources  = []string{"reported", "estimated", "none"}
	modes    = []string{"paygo", "subscription"}
	apis     = []string{"chat", "completions", "responses"}
	outcomes = []string{"", "ok", "status", "timeout", "reset", "connect_failure"}
	notes    = []string{"", "error_answer", "empty_answer", "broken_off", "price_unknown"}
)

func (c *checker) words() {
	note, _ := c.d.note()
	for _, w := range []struct {
		name, value string
		of          []string
	}{
		{"api", c.d.API, apis}, {"decision.kind", c.d.Decision.Kind, kinds}, {"status", c.d.Status, statuses}, {"usage.source", c.d.Usage.Source, sources},
		{"billing_mode", c.d.Mode, modes}, {"note", note, notes},
	} {
		if !slices.Contains(w.of, w.value) {
			c.fail("%s is %.64q, not one of %s", w.name, w.value, strings.TrimSpace(strings.Join(w.of, " ")))
		}
	}
	for i, a := range c.d.Attempts {
		if !slices.Contains(outcomes, text(a.Outcome)) {
			c.fail("outcome of attempt %d is %.64q, not one of %s", i+1, text(a.Outcome), strings.TrimSpace(strings.Join(outcomes, " ")))
		}
	}
	if c.d.Mode == "subscription" && !c.included() {
		c.fail("a subscription does not cover %s selection", c.d.Decision.Kind)
	}
	switch {
	case note == "error_answer" && c.d.Status != "failed", note == "broken_off" && c.d.Status != "failed",
		note == "empty_answer" && (c.d.Status != "completed" || count(c.d.Usage.Completion) != 0):
		c.fail("note is %s, but the status is %s with %d completion tokens", note, c.d.Status, count(c.d.Usage.Completion))
	}
}

// included: the model's default price holds, and a subscription may cover it.
func (c *checker) included() bool {
	return c.d.Decision.Kind == "default" || c.d.Decision.Kind == "caching"
}

func (c *checker) usage() {
	u := &c.d.Usage
	counts := []struct {
		name string
		n    *int64
		most int64
	}{
		{"prompt_tokens", u.Prompt, mostTokens}, {"completion_tokens", u.Completion, mostTokens},
		{"cache_read_tokens", u.CacheRead, count(u.Prompt)}, {"cache_write_tokens", u.CacheWrite, count(u.Prompt) - count(u.CacheRead)},
		{"reasoning_tokens", u.Reasoning, count(u.Completion)},
	}
	for _, n := range counts {
		switch {
		case n.n == nil:
		case u.Source == "none":
			c.fail("usage.source is none, but %s is %d", n.name, *n.n)
		case *n.n < 0 || *n.n > n.most:
			c.fail("%s is %d, not from 0 to %d", n.name, *n.n, n.most)
		}
	}
	if u.Source != "none" && (u.Prompt == nil || u.Completion == nil) {
		c.fail("usage.source is %s, but prompt_tokens or completion_tokens is null", u.Source)
	}
}

// tiers: the price is that of the last tier that the prompt is above.
func (c *checker) tiers() {
	tiers, p := c.d.Decision.Tiers, c.d.Price
	if len(tiers) == 0 {
		return
	}
	if p == nil {
		c.fail("there are tiers, but no price")
		return
	}
	at := tiers[0]
	for i, t := range tiers {
		if i == 0 && t.Above != 0 || i > 0 && t.Above <= tiers[i-1].Above {
			c.fail("tier %d begins above %d tokens: tiers begin at 0 and ascend", i+1, t.Above)
			return
		}
		if count(c.d.Usage.Prompt) > t.Above {
			at = t
		}
	}
	if !same(p, &Price{Prompt: at.Prompt, Completion: at.Completion, CacheRead: at.CacheRead, CacheWrite: at.CacheWrite, Request: p.Request, Markup: p.Markup}) {
		c.fail("price is not that of %d prompt tokens: the tier above %d holds", count(c.d.Usage.Prompt), at.Above)
	}
}

// same compares prices as numbers.
func same(a, b *Price) bool {
	x, err := figuresOf(a, &Usage{})
	y, err2 := figuresOf(b, &Usage{})
	if err != nil || err2 != nil {
		return false
	}
	return x.prompt.Cmp(y.prompt) == 0 && x.completion.Cmp(y.completion) == 0 && x.read.Cmp(y.read) == 0 && x.write.Cmp(y.write) == 0 &&
		x.request.Cmp(y.request) == 0 && x.markup.Cmp(y.markup) == 0
}

// chain: who served was to be tried, and a selection is charged by that offer's own
// price and markup.
func (c *checker) chain() {
	d := &c.d.Decision
	if c.d.Price != nil && c.included() {
		if m, err := rat(c.d.Price.Markup); err != nil || m.Sign() != 0 {
			c.fail("markup is %.48q, but the model's default price has none", c.d.Price.Markup)
		}
	}
	if d.Chain == nil || c.d.Provider == nil {
		return
	}
	found := false
	for _, l := range d.Chain {
		if text(l.Provider) != *c.d.Provider || text(l.UpstreamModel) != text(c.d.UpstreamModel) {
			continue
		}
		if found = true; c.included() || c.chargedBy(l.Price) {
			return
		}
	}
	switch {
	case found && d.ChainCut == 0:
		c.fail("price is not the one that the chain has for %.64s", *c.d.Provider)
	case !found && d.ChainCut == 0:
		c.fail("provider %.64s is not in the chain", *c.d.Provider)
	}
}

// chargedBy reports whether own is what was charged by, tiers apart.
func (c *checker) chargedBy(own *Price) bool {
	if own == nil || c.d.Price == nil {
		return own == nil && c.d.Price == nil
	}
	charged := *c.d.Price
	if len(c.d.Decision.Tiers) > 0 {
		t := c.d.Decision.Tiers[0]
		charged.Prompt, charged.Completion, charged.CacheRead, charged.CacheWrite = t.Prompt, t.Completion, t.CacheRead, t.CacheWrite
	}
	return same(own, &charged)
}

// charge recomputes both amounts.
func (c *checker) charge() {
	want, err := c.list()
	if err != nil {
		c.fail("%v", err)
		return
	}
	list, err := amount(c.d.ListAmount)
	if err != nil {
		c.fail("list_amount: %v", err)
		return
	}
	if !slices.ContainsFunc(want, func(w *big.Rat) bool { return equal(w, list) }) {
		c.fail("list_amount is %s, recomputed %s", show(list), show(want[0]))
	}
	due := new(big.Rat)
	if list != nil && c.d.Mode == "paygo" {
		due = list
	}
	got, err := amount(c.d.Amount)
	if err != nil || got == nil {
		c.fail("amount: %.48q is not an amount", text(c.d.Amount))
		return
	}
	if !equal(got, due) {
		c.fail("amount is %s, by list_amount and billing_mode it is %s", show(got), show(due))
	}
}

// list is what list_amount may be; nil stands for null. Only an event without a
// note leaves a choice.
func (c *checker) list() ([]*big.Rat, error) {
	zero := new(big.Rat)
	note, known := c.d.note()
	free := c.d.Usage.Source == "none" || note == "error_answer" || note == "empty_answer"
	switch {
	case c.d.Status == "unsettled":
		return []*big.Rat{nil}, nil
	case free, c.d.Status == "failed" && known && note != "broken_off" && note != "price_unknown":
		return []*big.Rat{zero}, nil
	case c.d.Price == nil:
		if known && note != "price_unknown" {
			return nil, fmt.Errorf("there is no price, but note is %q", note)
		}
		return []*big.Rat{nil}, nil
	case note == "price_unknown":
		return nil, fmt.Errorf("note is price_unknown, but there is a price")
	}
	f, err := figuresOf(c.d.Price, &c.d.Usage)
	if err != nil {
		return nil, err
	}
	want := []*big.Rat{round(f.exact())}
	if c.d.Status == "failed" && !known {
		want = append(want, zero)
	}
	return want, nil
}

// amount reads an amount; nil for null.
func amount(s *string) (*big.Rat, error) {
	if s == nil {
		return nil, nil
	}
	r, err := rat(*s)
	if err == nil && round(r).Cmp(r) != 0 {
		return nil, fmt.Errorf("%.48q has more than %d decimals", *s, places)
	}
	return r, err
}

func equal(a, b *big.Rat) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Cmp(b) == 0
}

func show(r *big.Rat) string {
	if r == nil {
		return "null"
	}
	return Decimal(r)
}
