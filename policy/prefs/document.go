// Package prefs holds what a user saved about providers: the document, how a PATCH
// changes it, how a GET shows it, and what a store of documents promises (PREF-2,
// PREF-3).
package prefs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Document is what one user saved (PREF-2). The zero Document is that of a user
// who saved nothing. Providers are slugs and models are ids, as the catalog called
// them when they were saved; a later catalog may not know them, and whoever reads a
// Document ignores such names. A Document is shared: nobody changes its lists or
// its map.
type Document struct {
	Preferred      []string            `json:"preferredProviders,omitempty"` // in order
	Excluded       []string            `json:"excludedProviders,omitempty"`
	EnableFallback *bool               `json:"enableFallback,omitempty"` // nil: true
	Models         map[string]Override `json:"modelOverrides,omitempty"` // by model id
}

// Override replaces, for one model, those fields of the Document that are not nil.
// At least one is set.
type Override struct {
	Preferred      []string `json:"preferredProviders,omitzero"` // empty, not nil: no preference for this model
	Excluded       []string `json:"excludedProviders,omitzero"`
	EnableFallback *bool    `json:"enableFallback,omitempty"`
}

// IsZero reports whether nothing is saved.
func (d Document) IsZero() bool {
	return len(d.Preferred) == 0 && len(d.Excluded) == 0 && d.EnableFallback == nil && len(d.Models) == 0
}

// IsZero reports whether nothing is overridden.
func (o Override) IsZero() bool {
	return o.Preferred == nil && o.Excluded == nil && o.EnableFallback == nil
}

// MaxDocument is how large a Document may be as Encode writes it, in bytes.
const MaxDocument = 64 << 10

// version of the stored form. Another one is not understood.
const version = 1

type stored struct {
	Version int `json:"v"`
	Document
}

// Encode is the form in which a Document is stored: JSON, the same bytes for the
// same Document.
func (d Document) Encode() []byte {
	b, err := json.Marshal(stored{version, d})
	if err != nil {
		panic(err) // strings, lists and booleans always marshal
	}
	return b
}

// ErrForeign means that stored bytes are no Document of this version.
var ErrForeign = errors.New("not a preferences document of version 1")

// Decode reads what Encode wrote. The error wraps ErrForeign.
func Decode(b []byte) (Document, error) {
	if len(b) > MaxDocument {
		return Document{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrForeign, len(b), MaxDocument)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var s stored
	if err := dec.Decode(&s); err != nil {
		return Document{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Document{}, fmt.Errorf("%w: something follows it", ErrForeign)
	}
	if s.Version != version {
		return Document{}, fmt.Errorf("%w: version %d", ErrForeign, s.Version)
	}
	return s.Document, nil
}
