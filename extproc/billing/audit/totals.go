package audit

import (
	"encoding/csv"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Groups are what events can be added up by; each is a column.
var Groups = []string{"day", "month", "model", "provider", "caller", "kind", "status", "api", "mode", "source", "id"}

// Totals adds events up. Sums are exact.
type Totals struct {
	by   []string
	rows map[string]*row
}

type row struct {
	key    []string // as Totals.by, then the currency
	counts [10]int64
	sums   [2]*big.Rat
}

// figureColumns are the columns behind the groups and the currency: ten counts and
// two sums.
var figureColumns = []string{
	"events", "completed", "cancelled", "failed", "unsettled",
	"prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
	"amount", "list_amount",
}

// NewTotals adds up by these of Groups. Currencies are never added to each other.
func NewTotals(by []string) (*Totals, error) {
	for i, g := range by {
		if !slices.Contains(Groups, g) {
			return nil, fmt.Errorf("%q is nothing to add up by: it is one of %s", g, strings.Join(Groups, ", "))
		}
		if slices.Contains(by[:i], g) {
			return nil, fmt.Errorf("%q is there twice", g)
		}
	}
	return &Totals{by: by, rows: make(map[string]*row)}, nil
}

// Add takes an event in. It fails where an amount is not one.
func (t *Totals) Add(e *Event) error {
	d := &e.Data
	due, err := amount(d.Amount)
	if err != nil || due == nil {
		return fmt.Errorf("amount %.48q is not one", text(d.Amount))
	}
	list, err := amount(d.ListAmount)
	if err != nil {
		return fmt.Errorf("list_amount: %w", err)
	}
	r := t.row(e)
	for i, n := range []int64{
		1, is(d.Status, "completed"), is(d.Status, "cancelled"), is(d.Status, "failed"), is(d.Status, "unsettled"),
		count(d.Usage.Prompt), count(d.Usage.Completion), count(d.Usage.CacheRead), count(d.Usage.CacheWrite), count(d.Usage.Reasoning),
	} {
		r.counts[i] += n
	}
	r.sums[0].Add(r.sums[0], due)
	if list != nil {
		r.sums[1].Add(r.sums[1], list)
	}
	return nil
}

func is(a, b string) int64 {
	if a == b {
		return 1
	}
	return 0
}

func (t *Totals) row(e *Event) *row {
	key := make([]string, 0, len(t.by)+1)
	for _, g := range t.by {
		key = append(key, group(e, g))
	}
	key = append(key, e.Data.Currency)
	id := strings.Join(key, "\x00")
	r := t.rows[id]
	if r == nil {
		r = &row{key: key, sums: [2]*big.Rat{new(big.Rat), new(big.Rat)}}
		t.rows[id] = r
	}
	return r
}

// group is an event's value in a column. A day is that of the event's end (UTC).
func group(e *Event, name string) string {
	d := &e.Data
	switch name {
	case "day":
		return d.EndedAt.UTC().Format("2006-01-02")
	case "month":
		return d.EndedAt.UTC().Format("2006-01")
	case "model":
		return text(d.Model)
	case "provider":
		return text(d.Provider)
	case "caller":
		return e.Subject
	case "kind":
		return d.Decision.Kind
	case "status":
		return d.Status
	case "api":
		return d.API
	case "mode":
		return d.Mode
	case "source":
		return e.Source
	}
	return e.ID
}

// Columns are the names of the columns, in order.
func (t *Totals) Columns() []string {
	return append(append(slices.Clone(t.by), "currency"), figureColumns...)
}

// WriteCSV writes a header and one line a group, sorted (RFC 4180, LF). A text that
// a spreadsheet would take for a formula begins with '.
func (t *Totals) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write(t.Columns()); err != nil {
		return err
	}
	rows := make([]*row, 0, len(t.rows))
	for _, r := range t.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *row) int { return slices.Compare(a.key, b.key) })
	for _, r := range rows {
		if err := out.Write(r.cells()); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func (r *row) cells() []string {
	var cells []string
	for _, k := range r.key {
		cells = append(cells, inert(k))
	}
	for _, n := range r.counts {
		cells = append(cells, strconv.FormatInt(n, 10))
	}
	return append(cells, Decimal(r.sums[0]), Decimal(r.sums[1]))
}

// inert is a text as a cell that no spreadsheet takes for a formula: one that begins
// like one, also behind spaces or in full width, gets a quotation mark.
func inert(text string) string {
	first, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(text, unicode.IsSpace))
	if text != "" && strings.ContainsRune("\t\r\n", rune(text[0])) || strings.ContainsRune("=+-@\uff1d\uff0b\uff0d\uff20", first) {
		return "'" + text
	}
	return text
}
