package audit

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// WriteStory tells how an event's amount came about, for people.
func WriteStory(w io.Writer, e *Event) error {
	var b strings.Builder
	d := &e.Data
	fmt.Fprintf(&b, "request %s\n", Clean(e.ID))
	caller := Clean(e.Subject)
	if caller == "" {
		caller = "nobody known"
	}
	stream := ""
	if d.Stream {
		stream = ", streamed"
	}
	fmt.Fprintf(&b, "  %s to %s, %s%s, admitted by %s for %s\n",
		d.StartedAt.UTC().Format(time.RFC3339Nano), d.EndedAt.UTC().Format(time.RFC3339Nano), Clean(d.API), stream, Clean(e.Source), caller)
	fmt.Fprintf(&b, "  asked for %s; %s\n", orNone(d.RequestedModel), served(d))
	fmt.Fprintf(&b, "  %s%s\n\n", Clean(d.Status), whyNote(d))
	writePrice(&b, d)
	writeChain(&b, d)
	writeLeftOut(&b, d)
	fmt.Fprintf(&b, "configuration %s\n", Clean(d.Decision.Catalog))
	for _, p := range Check(e) {
		fmt.Fprintf(&b, "WRONG: %s\n", p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func orNone(s *string) string {
	if s == nil {
		return "-"
	}
	return Clean(*s)
}

// Clean keeps a text, some of which clients write, from moving the cursor or
// beginning a line of its own.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// WriteLine tells of an event on one line.
func WriteLine(w io.Writer, e *Event) error {
	d := &e.Data
	tokens := func(n *int64) string {
		if n == nil {
			return "?"
		}
		return strconv.FormatInt(*n, 10)
	}
	note, _ := d.note()
	if note != "" {
		note = " (" + Clean(note) + ")"
	}
	_, err := fmt.Fprintf(w, "%s %-9s %s by %s: %s in, %s out, %s %s%s  %s\n", e.Time.UTC().Format(time.DateTime), Clean(d.Status),
		orNone(d.Model), orNone(d.Provider), tokens(d.Usage.Prompt), tokens(d.Usage.Completion), orNone(d.Amount), Clean(d.Currency), note, Clean(e.ID))
	return err
}

func served(d *Data) string {
	if d.Provider == nil {
		return "nobody was asked"
	}
	return fmt.Sprintf("last asked: %s for %s (its name: %s)", *d.Provider, orNone(d.Model), orNone(d.UpstreamModel))
}

func whyNote(d *Data) string {
	note, _ := d.note()
	return map[string]string{
		"error_answer": ": the answer carried an error, so nothing is charged",
		"empty_answer": ": the answer had no tokens and no finish reason, so nothing is charged",
		"broken_off":   ": the provider broke off after some output, which is charged",
	}[note]
}

var whyKind = map[string]string{
	"default":    "the client selected nothing, so the model's default price holds, without markup",
	"caching":    "the client asked for caching and selected nothing else, so the model's default price holds, without markup",
	"explicit":   "the client selected providers, so the price of the one that served holds, with markup",
	"suffix":     "the model's suffix selected, so the price of the provider that served holds, with markup",
	"preference": "saved preferences selected, so the price of the provider that served holds, with markup",
}

func writePrice(b *strings.Builder, d *Data) {
	fmt.Fprintf(b, "price: %s\n", whyKind[d.Decision.Kind])
	p := d.Price
	if p == nil {
		fmt.Fprintf(b, "  that price was not known when the request was admitted: nothing is charged\n\n")
		return
	}
	if tiers := d.Decision.Tiers; len(tiers) > 1 {
		at := tiers[0]
		for _, t := range tiers {
			if count(d.Usage.Prompt) > t.Above {
				at = t
			}
		}
		fmt.Fprintf(b, "  it has %d tiers; %d prompt tokens fall into the one above %d\n", len(tiers), count(d.Usage.Prompt), at.Above)
	}
	if d.Usage.Source == "none" {
		fmt.Fprintf(b, "  no usage is known\n")
	} else {
		writeSum(b, d)
	}
	list := "not known"
	if d.ListAmount != nil {
		list = *d.ListAmount
	}
	if d.Mode == "subscription" {
		fmt.Fprintf(b, "  list amount %s %s, included in the caller's subscription\n", Clean(list), Clean(d.Currency))
	}
	fmt.Fprintf(b, "  amount %s %s\n\n", orNone(d.Amount), Clean(d.Currency))
}

// writeSum writes the sum that gives the list amount.
func writeSum(b *strings.Builder, d *Data) {
	f, err := figuresOf(d.Price, &d.Usage)
	if err != nil {
		fmt.Fprintf(b, "  %v\n", err)
		return
	}
	table := tabwriter.NewWriter(b, 0, 0, 1, ' ', tabwriter.AlignRight)
	for _, part := range []struct {
		name   string
		tokens int64
		price  string
	}{
		{"prompt", f.plainTokens, d.Price.Prompt}, {"cache read", f.readTokens, orElse(d.Price.CacheRead, d.Price.Prompt)},
		{"cache write", f.writeTokens, orElse(d.Price.CacheWrite, d.Price.Prompt)}, {"completion", f.completionTokens, d.Price.Completion},
	} {
		if part.tokens != 0 || part.name == "prompt" || part.name == "completion" {
			_, _ = fmt.Fprintf(table, "\t%s\t%d\t× %s\tper million\t\n", part.name, part.tokens, part.price)
		}
	}
	_ = table.Flush()
	if f.request.Sign() != 0 {
		fmt.Fprintf(b, "  + %s for the request\n", d.Price.Request)
	}
	if f.markup.Sign() != 0 {
		fmt.Fprintf(b, "  + %s of that (markup)\n", d.Price.Markup)
	}
	fmt.Fprintf(b, "  usage is %s; the sum is %s\n", Clean(d.Usage.Source), Decimal(round(f.exact())))
}

func writeChain(b *strings.Builder, d *Data) {
	fmt.Fprintf(b, "chain: who was to be tried, in this order, and what became of it\n")
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for i := range max(len(d.Decision.Chain), len(d.Attempts)) {
		var l Link
		if i < len(d.Decision.Chain) {
			l = d.Decision.Chain[i]
		} else {
			l.Provider, l.UpstreamModel = d.Attempts[i].Provider, d.Attempts[i].UpstreamModel
		}
		price := "price unknown"
		if p := l.Price; p != nil {
			price = Clean(fmt.Sprintf("%s in, %s out, markup %s", p.Prompt, p.Completion, p.Markup))
		}
		became := "not tried"
		if i < len(d.Attempts) {
			became = outcome(&d.Attempts[i])
		}
		_, _ = fmt.Fprintf(table, "  %d\t%s\t%s\t%s\t%s\n", i+1, orNone(l.Provider), orNone(l.UpstreamModel), price, became)
	}
	_ = table.Flush()
	more(b, d.Decision.ChainCut)
}

func outcome(a *Attempt) string {
	s := orNone(a.Outcome)
	if a.Status != nil {
		s += fmt.Sprintf(" %d", *a.Status)
	}
	if a.DurationMS != nil {
		s += fmt.Sprintf(" after %d ms", *a.DurationMS)
	}
	return s
}

func writeLeftOut(b *strings.Builder, d *Data) {
	fmt.Fprintf(b, "\nleft out:\n")
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, l := range d.Decision.LeftOut {
		of := ""
		if l.Model != "" {
			of = " for " + Clean(l.Model)
		}
		_, _ = fmt.Fprintf(table, "  %s%s\t%s\n", orNone(l.Provider), of, orNone(l.Reason))
	}
	_ = table.Flush()
	if len(d.Decision.LeftOut)+d.Decision.LeftOutCut == 0 {
		fmt.Fprintf(b, "  nobody\n")
	}
	more(b, d.Decision.LeftOutCut)
	fmt.Fprintf(b, "\n")
}

func more(b *strings.Builder, n int) {
	if n > 0 {
		fmt.Fprintf(b, "  and %d more that the event has no room for\n", n)
	}
}
