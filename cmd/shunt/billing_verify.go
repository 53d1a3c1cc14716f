package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/shopspring/decimal"
	"github.com/spf13/cobra"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing/audit"
)

// verifyCommand recomputes every amount.
func verifyCommand() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "verify FILE…",
		Short: "recompute every amount from its event's own figures",
		Long: "verify reads files of events (- is standard input) and checks that every amount follows from the usage, the price,\n" +
			"the tiers and the status that stand beside it, that the price is the one quoted, and that no event is there in two\n" +
			"versions. It prints what does not fit with its place, and exits 1 if there is any. An event that is there again, byte\n" +
			"for byte, was delivered twice: that is counted, and no mistake.\n\n" +
			"With -c, prices are also compared with that configuration, for events that were quoted by this very version of it\n" +
			"(decision.catalog is its hash). Events of other versions are counted: their prices cannot be compared with it.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			v := &verifier{out: cmd.OutOrStdout()}
			if flags.path != "" {
				c, err := flags.load()
				if err != nil {
					return err
				}
				v.catalog = c
			}
			if err := readEvents(cmd.InOrStdin(), files, v.line); err != nil {
				return err
			}
			return v.sum()
		},
	}
	cmd.Flags().StringVarP(&flags.path, "config", "c", "", "compare prices with this configuration, too")
	return cmd
}

// verifier counts what it has seen.
type verifier struct {
	out     io.Writer
	catalog *catalog.Catalog // nil: none to compare with

	events, again, wrong, compared int
	others                         []string // hashes of other configurations
	ofOthers                       int      // events quoted by them
}

func (v *verifier) line(l *audit.Line) error {
	v.events++
	problems := problemsOf(l)
	if l.Event != nil {
		problems = append(problems, v.compare(l.Event)...)
	}
	for _, p := range problems {
		if _, err := fmt.Fprintf(v.out, "%s: %s%s\n", l.At(), idOf(l), p); err != nil {
			return err
		}
	}
	switch {
	case len(problems) > 0:
		v.wrong++
	case l.First != "":
		v.again++
	}
	return nil
}

func problemsOf(l *audit.Line) []string {
	if l.Err != nil {
		return []string{l.Err.Error()}
	}
	return audit.Check(l.Event)
}

func idOf(l *audit.Line) string {
	if l.Event == nil {
		return ""
	}
	return fmt.Sprintf("event %.128q: ", l.Event.ID)
}

// sum says what came of it.
func (v *verifier) sum() error {
	if v.catalog != nil {
		_, err := fmt.Fprintf(v.out, "configuration %s: %d events were quoted by it, and compared with its prices\n", v.catalog.Hash, v.compared)
		if err == nil && v.ofOthers > 0 {
			_, err = fmt.Fprintf(v.out, "%d events were quoted by OTHER configurations; their amounts were recomputed from their own prices, which were NOT compared: %.80q\n",
				v.ofOthers, v.others)
		}
		if err != nil {
			return err
		}
	}
	if v.wrong > 0 {
		return inputError{fmt.Errorf("%d of %d events do not add up", v.wrong, v.events)}
	}
	_, err := fmt.Fprintf(v.out, "%d events, %d of them delivered again: every amount follows from its event\n", v.events, v.again)
	return err
}

// mostOthers bounds how many other configurations are named.
const mostOthers = 8

// compare is what in an event's prices is not as the configuration has it.
func (v *verifier) compare(e *audit.Event) (problems []string) {
	switch {
	case v.catalog == nil:
		return nil
	case e.Data.Decision.Catalog != v.catalog.Hash:
		v.ofOthers++
		if h := e.Data.Decision.Catalog; len(v.others) < mostOthers && !slices.Contains(v.others, h) {
			v.others = append(v.others, h)
		}
		return nil
	}
	v.compared++
	if want := v.catalog.Billing.Currency; e.Data.Currency != want {
		problems = append(problems, fmt.Sprintf("currency is %.16q, the configuration's is %s", e.Data.Currency, want))
	}
	for i := range e.Data.Decision.Chain {
		if l := &e.Data.Decision.Chain[i]; !v.offered(l) {
			problems = append(problems, fmt.Sprintf("the configuration has no offer of %.64s for %.128s at the chain's price and markup", orDash(l.Provider), orDash(l.UpstreamModel)))
		}
	}
	if kind := e.Data.Decision.Kind; (kind == "default" || kind == "caching") && e.Data.Model != nil {
		m, ok := v.catalog.Model(*e.Data.Model)
		if !ok || !asQuoted(e.Data.Price, at(m.Price, e.Data.Usage.Prompt), decimal.Zero) {
			problems = append(problems, fmt.Sprintf("the price is not the configuration's default price of %.128s", *e.Data.Model))
		}
	}
	return problems
}

// offered reports whether some offer of the configuration is the chain's.
func (v *verifier) offered(l *audit.Link) bool {
	for _, m := range v.catalog.Models {
		if l.Model != "" && l.Model != m.ID {
			continue
		}
		for _, o := range m.Offers {
			if l.Provider != nil && *l.Provider == o.Provider.Slug && l.UpstreamModel != nil && *l.UpstreamModel == o.Upstream &&
				asQuoted(l.Price, o.Price, v.catalog.Billing.MarkupFor(o)) {
				return true
			}
		}
	}
	return false
}

// at is the price of so many prompt tokens; the first tier's where they are not known.
func at(p *catalog.Price, prompt *int64) *catalog.Price {
	if p == nil || prompt == nil {
		return p
	}
	return p.At(*prompt)
}

// asQuoted compares an event's price with the configuration's.
func asQuoted(got *audit.Price, want *catalog.Price, markup decimal.Decimal) bool {
	if got == nil || want == nil {
		return got == nil && want == nil
	}
	return is(got.Prompt, want.Prompt) && is(got.Completion, want.Completion) && isNull(got.CacheRead, want.CacheRead) &&
		isNull(got.CacheWrite, want.CacheWrite) && is(got.Request, want.Request) && is(got.Markup, markup)
}

func is(text string, want decimal.Decimal) bool {
	if strings.ContainsAny(text, "eE") {
		return false // an event has no exponents; a large one would fill the memory
	}
	d, err := decimal.NewFromString(text)
	return err == nil && d.Equal(want)
}

func isNull(text *string, want decimal.NullDecimal) bool {
	if text == nil || !want.Valid {
		return text == nil && !want.Valid
	}
	return is(*text, want.Decimal)
}

func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return audit.Clean(*s)
}
