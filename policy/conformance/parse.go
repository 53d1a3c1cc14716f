package conformance

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// Parse reads one file of cases:
//
//	=== SEL-2a only is hard
//	quote seed 002: "`only` is hard. …"
//	catalog shop
//	cooling novita@moonshotai/kimi-k2.6 30s
//	POST /v1/chat/completions
//	X-Provider: novita
//
//	{"model": "kimi-k2.6", …}
//	----
//	200 explicit
//	novita
//	baseten@zai-org/glm-5
//	- moonshot: not in only
//
// Before the request line: quote, catalog, and the state lines cooling, measured,
// preferred, excluded, fallback, override, subscriber and sticky. The outcome is
// a status with a kind and, if it matters, paygo or subscription; then the
// attempts; then some of the offers left out. An error is a status, a code and,
// if it has one, a param. Lines that begin with # are comments, except in bodies.
func Parse(name, text string) ([]Case, error) {
	p := parser{section: strings.TrimSuffix(path.Base(name), path.Ext(name)), state: idle}
	for i, line := range strings.Split(text, "\n") {
		if err := p.line(i+1, strings.TrimRight(line, " \t\r")); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
	}
	if err := p.end(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p.cases, nil
}

type parserState int

const (
	idle parserState = iota
	preamble
	headers
	body
	outcome
)

type parser struct {
	section string
	state   parserState
	c       *Case
	body    []string
	cases   []Case
}

func (p *parser) line(n int, line string) error {
	if rest, ok := strings.CutPrefix(line, "=== "); ok {
		if err := p.end(); err != nil {
			return err
		}
		id, title, _ := strings.Cut(rest, " ")
		p.c, p.state, p.body = &Case{ID: id, Title: title, Section: p.section, Line: n}, preamble, nil
		return nil
	}
	switch {
	case p.state == body && line == "----":
		p.c.Body = []byte(strings.Join(p.body, "\n"))
		p.state = outcome
	case p.state == body:
		p.body = append(p.body, line)
	case strings.HasPrefix(line, "#"):
	case p.state == headers && line == "":
		p.state = body
	case line == "":
	case p.state == headers:
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("%q is not a header", line)
		}
		p.c.Headers = append(p.c.Headers, Header{name, strings.TrimSpace(value)})
	case p.state == preamble:
		return p.preamble(line)
	case p.state == outcome:
		return p.c.Want.line(line)
	default:
		return fmt.Errorf("%q belongs to no case", line)
	}
	return nil
}

func (p *parser) end() error {
	if p.c == nil {
		return nil
	}
	if p.state != outcome || p.c.Want.Status == 0 {
		return fmt.Errorf("case %s has no outcome", p.c.ID)
	}
	p.cases = append(p.cases, *p.c)
	p.c = nil
	return nil
}

func (p *parser) preamble(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "quote":
		p.c.Quotes = append(p.c.Quotes, rest)
	case "catalog":
		p.c.Catalog = rest
	case "POST":
		p.c.Path, p.state = rest, headers
	default:
		return p.c.State.line(word, strings.Fields(rest))
	}
	return nil
}

func (s *State) line(word string, args []string) (err error) {
	need := func(n int) bool {
		if len(args) < n {
			err = fmt.Errorf("%s needs %d words", word, n)
		}
		return err == nil
	}
	switch word {
	case "cooling":
		if need(2) {
			err = put(&s.Cooling, args[0], args[1], time.ParseDuration)
		}
	case "measured":
		if need(3) {
			err = put(&s.Measured, args[0], args[1]+" "+args[2], measured)
		}
	case "override":
		if need(2) {
			saved := s.Overrides[args[0]]
			if err = saved.line(args[1], args[2:]); err == nil {
				err = put(&s.Overrides, args[0], "", func(string) (Saved, error) { return saved, nil })
			}
		}
	case "subscriber":
		s.Subscriber = true
	case "sticky":
		if need(1) {
			s.Sticky = args[0]
		}
	default:
		if s.Saved == nil {
			s.Saved = &Saved{}
		}
		err = s.Saved.line(word, args)
	}
	return err
}

func (s *Saved) line(word string, args []string) error {
	if args == nil {
		args = []string{}
	}
	switch {
	case word == "preferred":
		s.Preferred = args
	case word == "excluded":
		s.Excluded = args
	case word == "fallback" && len(args) == 1 && (args[0] == "on" || args[0] == "off"):
		s.Fallback = args[0]
	default:
		return fmt.Errorf("unknown line %q", word)
	}
	return nil
}

func put[V any](m *map[string]V, key, value string, parse func(string) (V, error)) error {
	v, err := parse(value)
	if err != nil {
		return err
	}
	if *m == nil {
		*m = make(map[string]V)
	}
	(*m)[key] = v
	return nil
}

func measured(s string) (Measured, error) {
	ttft, throughput, _ := strings.Cut(s, " ")
	d, err := time.ParseDuration(ttft)
	if err != nil {
		return Measured{}, err
	}
	f, err := strconv.ParseFloat(throughput, 64)
	return Measured{d, f}, err
}

func (w *Want) line(line string) error {
	if w.Status == 0 {
		f := strings.Fields(line)
		n, err := strconv.Atoi(f[0])
		if err != nil || len(f) < 2 || len(f) > 3 {
			return fmt.Errorf("%q is not a status and a kind or code", line)
		}
		f = append(f, "")
		if w.Status = n; n == 200 {
			w.Kind, w.Charged = f[1], f[2]
		} else {
			w.Code, w.Param = f[1], f[2]
		}
		return nil
	}
	if rest, ok := strings.CutPrefix(line, "- "); ok {
		offer, reason, _ := strings.Cut(rest, ": ")
		provider, model, _ := strings.Cut(offer, "@")
		w.Left = append(w.Left, LeftOut{provider, model, reason})
		return nil
	}
	provider, model, _ := strings.Cut(line, "@")
	w.Attempts = append(w.Attempts, Attempt{provider, model})
	return nil
}
