package catalog

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Fault is one mistake in a configuration.
type Fault struct {
	File       string // Source.Name
	Line, Col  int    // from 1; Col counts characters
	Path       string // models.kimi.offers[0].price.prompt; "" for the file itself
	Message    string // never shows a literal secret
	Suggestion string // what was probably meant; "" if nothing is near
}

// String is file:line:col: path: message (did you mean "x"?).
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	b.WriteByte(':')
	b.WriteString(strconv.Itoa(f.Line))
	b.WriteByte(':')
	b.WriteString(strconv.Itoa(f.Col))
	b.WriteString(": ")
	if f.Path != "" {
		b.WriteString(f.Path)
		b.WriteString(": ")
	}
	b.WriteString(f.Message)
	if f.Suggestion != "" {
		b.WriteString(" (did you mean ")
		b.WriteString(strconv.Quote(f.Suggestion))
		b.WriteString("?)")
	}
	return b.String()
}

// Faults are all the mistakes of one configuration, sorted by position. It is
// the error that Parse returns.
type Faults []Fault

// Error prints one fault a line, without a final newline.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// maxFaults bounds what one file can report; the last fault then says so.
const maxFaults = 10_000

// faultKey tells mistakes apart: content behind an alias is read once for every
// use, with another path each time, and reported once.
type faultKey struct {
	at            pos
	last, message string // last: what the path ends in, as two keys may miss at one place
}

type pos struct{ line, col int }

// faultList collects faults in any order.
type faultList struct {
	file   string
	faults Faults
	seen   map[faultKey]struct{}
	closed bool // what would be added now follows from another fault
}

func (l *faultList) add(at pos, path, message, suggestion string) {
	if l.closed || len(l.faults) >= maxFaults {
		return
	}
	key := faultKey{at, path[strings.LastIndexByte(path, '.')+1:], message}
	if _, ok := l.seen[key]; ok {
		return
	}
	if l.seen == nil {
		l.seen = make(map[faultKey]struct{})
	}
	l.seen[key] = struct{}{}
	l.faults = append(l.faults, Fault{
		File: l.file, Line: at.line, Col: at.col,
		Path: path, Message: message, Suggestion: suggestion,
	})
}

// sorted returns the faults in the file's order, or nil.
func (l *faultList) sorted() Faults {
	slices.SortStableFunc(l.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	if len(l.faults) >= maxFaults {
		last := l.faults[len(l.faults)-1]
		l.faults = append(l.faults, Fault{
			File: l.file, Line: last.Line, Col: last.Col,
			Message: "too many faults: these " + strconv.Itoa(maxFaults) + " may not be all",
		})
	}
	return l.faults
}
