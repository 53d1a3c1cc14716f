package policy

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
)

// Explanation is a decision for people: what `shunt explain` prints, and the
// x-shunt-explain header carries. It holds no request text, caller or key.
type Explanation struct {
	Model   string `json:"model"`
	Kind    string `json:"kind"`
	Sort    string `json:"sort"`
	Paygo   bool   `json:"paygo"`
	Catalog string `json:"catalog"` // Catalog.Hash

	Attempts []Row     `json:"attempts"`
	Left     []LeftRow `json:"left_out"`
}

// Row is one attempt.
type Row struct {
	Rank       int     `json:"rank"` // from 1
	Model      string  `json:"model"`
	Provider   string  `json:"provider"`
	Upstream   string  `json:"upstream_model"`
	Price      *Rates  `json:"price,omitempty"` // before markup; absent: unknown
	TTFT       *Metric `json:"ttft_ms,omitempty"`
	Throughput *Metric `json:"throughput,omitempty"` // completion tokens per second
	Why        string  `json:"why"`
	Cooling    bool    `json:"cooling,omitempty"`
	Missed     bool    `json:"misses_preference,omitempty"` // a preferred latency or throughput
}

// LeftRow is one offer that is not tried.
type LeftRow struct {
	Model    string `json:"model"`
	Provider string `json:"provider"`
	Why      string `json:"why"`
}

// Rates are prices per 1M tokens, as decimal strings.
type Rates struct {
	Prompt     string `json:"prompt"`
	Completion string `json:"completion"`
}

// Metric is a figure and where it comes from.
type Metric struct {
	Value     float64 `json:"value"`
	Estimated bool    `json:"estimated,omitempty"` // from the configuration, nothing was measured
}

// Explain says why dec is what it is. dec may be the one that Decide returns
// beside an error.
func Explain(req *Request, dec *Decision, snap *Snapshot) *Explanation {
	x := &Explanation{
		Model:    dec.Model.ID,
		Kind:     dec.Kind.String(),
		Sort:     sortName(dec.Sort),
		Paygo:    dec.Paygo,
		Catalog:  snap.Catalog.Hash,
		Attempts: make([]Row, 0, len(dec.Attempts)),
		Left:     make([]LeftRow, 0, len(dec.Left)),
	}
	for i, a := range dec.Attempts {
		o := a.Offer
		row := Row{
			Rank: i + 1, Model: o.Model.ID, Provider: o.Provider.Slug, Upstream: o.Upstream,
			Why: a.Reason.String(), Cooling: a.Cooling, Missed: a.Missed,
		}
		if o.Price != nil {
			row.Price = &Rates{o.Price.Prompt.String(), o.Price.Completion.String()}
		}
		h := snap.Health.At(o.Index)
		ttft, throughput := measured(o, h)
		if ttft > 0 {
			row.TTFT = &Metric{float64(ttft) / float64(time.Millisecond), h.TTFT <= 0}
		}
		if throughput > 0 {
			row.Throughput = &Metric{throughput, !(h.Throughput > 0)}
		}
		x.Attempts = append(x.Attempts, row)
	}
	for _, l := range inListOrder(req, dec.Left) {
		x.Left = append(x.Left, LeftRow{l.Offer.Model.ID, l.Offer.Provider.Slug, l.Reason.String()})
	}
	return x
}

// inListOrder sorts what was left out by model, as the request lists them, then
// provider.
func inListOrder(req *Request, left []LeftOut) []LeftOut {
	at := map[*catalog.Model]int{req.Model: -1}
	for i, m := range req.Models {
		at[m] = i
	}
	left = slices.Clone(left)
	slices.SortStableFunc(left, func(a, b LeftOut) int {
		if n := at[a.Offer.Model] - at[b.Offer.Model]; n != 0 {
			return n
		}
		return strings.Compare(a.Offer.Provider.Slug, b.Offer.Provider.Slug)
	})
	return left
}

func sortName(s catalog.Sort) string {
	switch s {
	case catalog.SortSpeed:
		return "speed"
	case catalog.SortThroughput:
		return "throughput"
	case catalog.SortPrice:
		return "price"
	}
	return "latency"
}

// WriteText writes a table: the attempts in their order, then who was left out.
// A figure with ~ is the configuration's estimate.
func (x *Explanation) WriteText(w io.Writer) error {
	charged := "charged at the model's price"
	switch {
	case !x.Paygo:
		charged = "included in the subscription"
	case x.Kind != "default" && x.Kind != "caching":
		charged = "charged at the provider's price and markup"
	}
	if _, err := fmt.Fprintf(w, "%s: %s, sort %s, %s\n\n", x.Model, x.Kind, x.Sort, charged); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "#\tPROVIDER\tMODEL\tUPSTREAM\tPRICE\tTTFT\tTOK/S\tWHY")
	for _, r := range x.Attempts {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			r.Rank, r.Provider, r.Model, r.Upstream, r.Price, r.TTFT.text("%.0fms"), r.Throughput.text("%.4g"), r.why())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(x.Left) == 0 {
		return nil
	}
	fmt.Fprint(t, "\nleft out\nPROVIDER\tMODEL\tWHY\n")
	for _, r := range x.Left {
		fmt.Fprintf(t, "%s\t%s\t%s\n", r.Provider, r.Model, r.Why)
	}
	return t.Flush()
}

// String is prompt / completion, or ? for an unknown price.
func (r *Rates) String() string {
	if r == nil {
		return "?"
	}
	return r.Prompt + " / " + r.Completion
}

func (m *Metric) text(format string) string {
	if m == nil {
		return "?"
	}
	s := fmt.Sprintf(format, m.Value)
	if m.Estimated {
		return "~" + s
	}
	return s
}

func (r *Row) why() string {
	why := r.Why
	if r.Missed {
		why += "; misses a preferred latency or throughput"
	}
	if r.Cooling {
		why += "; cooling down"
	}
	return why
}

// Header is the explanation in one line of printable ASCII, at most maxBytes
// long; what does not fit ends in "...".
func (x *Explanation) Header(maxBytes int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "model=%s kind=%s sort=%s", x.Model, x.Kind, x.Sort)
	place := func(model, provider string) {
		b.WriteString(provider)
		if model != x.Model {
			b.WriteString("@" + model)
		}
	}
	for _, r := range x.Attempts {
		fmt.Fprintf(&b, "; %d=", r.Rank)
		place(r.Model, r.Provider)
		b.WriteString(" (" + r.why() + ")")
		if b.Len() > maxBytes {
			break
		}
	}
	for i, r := range x.Left {
		if b.Len() > maxBytes {
			break
		}
		if i == 0 {
			b.WriteString("; out: ")
		} else {
			b.WriteString(", ")
		}
		place(r.Model, r.Provider)
		b.WriteString(" (" + r.Why + ")")
	}
	line := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, b.String())
	const more = "..."
	switch {
	case len(line) <= maxBytes:
		return line
	case maxBytes < len(more):
		return line[:max(maxBytes, 0)]
	}
	return line[:maxBytes-len(more)] + more
}
