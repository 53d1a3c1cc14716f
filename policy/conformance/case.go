// Package conformance reads the cases in policy/testdata/conformance: for every
// rule about reading and selecting, requests and what must come of
// them. They run against package policy, and through a real Envoy.
package conformance

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

// Suite is a directory of cases and the catalogs that they name.
type Suite struct {
	Cases []Case
	// Catalogs are shunt.yaml files by the name that Case.Catalog has. Every
	// provider's endpoint is Placeholder; see WithEndpoints.
	Catalogs map[string][]byte
}

// Case is one request and its outcome.
type Case struct {
	ID      string // a rule's id and a letter: SEL-3b
	Title   string
	Section string // the file's name without extension: selecting
	Line    int    // where in the file it begins
	Quotes  []string
	Catalog string

	Path    string
	Headers []Header
	Body    []byte
	State   State

	Want Want
}

// Header is one header as it is sent.
type Header struct{ Name, Value string }

// State is what is known beside the request and the catalog. Pairs of provider
// and model are written provider@model.
type State struct {
	Cooling    map[string]time.Duration // left of the cooldown
	Measured   map[string]Measured
	Saved      *Saved
	Overrides  map[string]Saved // by model id
	Subscriber bool
	Sticky     string // provider slug
}

// Measured is an offer's health.
type Measured struct {
	TTFT       time.Duration
	Throughput float64
}

// Saved are saved preferences. Fields that were not given are nil or "".
type Saved struct {
	Preferred, Excluded []string
	Fallback            string // on, off
}

// Want is the outcome: a decision, or an error where Code is not "".
type Want struct {
	Status int // 200, or the error's
	Code   string
	Param  string

	Kind     string    // default, explicit, suffix, preference, caching
	Charged  string    // paygo, subscription, or "": not part of the case
	Attempts []Attempt // all of them, in order
	Left     []LeftOut // some of those left out
}

// Attempt is one try.
type Attempt struct {
	Provider string
	Model    string // "": the primary model
}

// LeftOut is an offer left out, and why.
type LeftOut struct{ Provider, Model, Reason string }

// Load reads all *.txt of a directory, and its catalogs/*.yaml.
func Load(fsys fs.FS) (*Suite, error) {
	s := &Suite{Catalogs: make(map[string][]byte)}
	files, err := fs.Glob(fsys, "catalogs/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		data, err := fs.ReadFile(fsys, f)
		if err != nil {
			return nil, err
		}
		s.Catalogs[strings.TrimSuffix(path.Base(f), ".yaml")] = data
	}
	if files, err = fs.Glob(fsys, "*.txt"); err != nil {
		return nil, err
	}
	for _, f := range files {
		data, err := fs.ReadFile(fsys, f)
		if err != nil {
			return nil, err
		}
		cases, err := Parse(f, string(data))
		if err != nil {
			return nil, err
		}
		s.Cases = append(s.Cases, cases...)
	}
	return s, s.check()
}

func (s *Suite) check() error {
	seen := make(map[string]bool)
	for _, c := range s.Cases {
		if seen[c.ID] {
			return fmt.Errorf("%s: case %s comes twice", c.Section, c.ID)
		}
		seen[c.ID] = true
		if s.Catalogs[c.Catalog] == nil {
			return fmt.Errorf("%s: case %s: no catalog %q", c.Section, c.ID, c.Catalog)
		}
	}
	return nil
}
