package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// EventType is the type of the events that this package knows.
const EventType = "shunt.usage.v1"

// Event is one line of a file sink, as it stands there. A nil pointer is a null, or
// a member that is not there.
type Event struct {
	SpecVersion string    `json:"specversion"`
	Type        string    `json:"type"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Subject     string    `json:"subject"`
	Time        time.Time `json:"time"`
	Data        Data      `json:"data"`
}

// Data is the event itself; docs/billing.md describes every member.
type Data struct {
	StartedAt      time.Time `json:"started_at"`
	EndedAt        time.Time `json:"ended_at"`
	API            string    `json:"api"`
	Stream         bool      `json:"stream"`
	RequestedModel *string   `json:"requested_model"`
	Model          *string   `json:"model"`
	Provider       *string   `json:"provider"`
	UpstreamModel  *string   `json:"upstream_model"`
	Status         string    `json:"status"`
	Decision       Decision  `json:"decision"`
	Attempts       []Attempt `json:"attempts"`
	Usage          Usage     `json:"usage"`
	Price          *Price    `json:"price"`
	Amount         *string   `json:"amount"`
	ListAmount     *string   `json:"list_amount"`
	Currency       string    `json:"currency"`
	Mode           string    `json:"billing_mode"`
	// Note is nil where there is no such member: events before it was there. The
	// JSON null is there.
	Note json.RawMessage `json:"note"`
}

// Decision says what chose the providers.
type Decision struct {
	Kind       string `json:"kind"`
	Catalog    string `json:"catalog"`
	Tiers      []Tier `json:"tiers"`
	Chain      []Link `json:"chain"` // nil: the event does not tell
	ChainCut   int    `json:"chain_cut"`
	LeftOut    []Left `json:"left_out"`
	LeftOutCut int    `json:"left_out_cut"`
}

// Link is one offer of the chain.
type Link struct {
	Provider      *string `json:"provider"`
	UpstreamModel *string `json:"upstream_model"`
	Price         *Price  `json:"price"`
	Model         string  `json:"model"`
}

// Left is one offer that was left out.
type Left struct {
	Provider *string `json:"provider"`
	Reason   *string `json:"reason"`
	Model    string  `json:"model"`
}

// Attempt is one attempt.
type Attempt struct {
	Provider      *string `json:"provider"`
	UpstreamModel *string `json:"upstream_model"`
	Outcome       *string `json:"outcome"`
	Status        *int64  `json:"status"`
	DurationMS    *int64  `json:"duration_ms"`
}

// Usage is what was charged for.
type Usage struct {
	Source     string `json:"source"`
	Prompt     *int64 `json:"prompt_tokens"`
	Completion *int64 `json:"completion_tokens"`
	CacheRead  *int64 `json:"cache_read_tokens"`
	CacheWrite *int64 `json:"cache_write_tokens"`
	Reasoning  *int64 `json:"reasoning_tokens"`
}

// Price is what it was charged by.
type Price struct {
	Prompt     string  `json:"prompt"`
	Completion string  `json:"completion"`
	CacheRead  *string `json:"cache_read"`
	CacheWrite *string `json:"cache_write"`
	Request    string  `json:"request"`
	Markup     string  `json:"markup"`
}

// Tier is the price of requests of more than Above prompt tokens.
type Tier struct {
	Above      int64   `json:"above"`
	Prompt     string  `json:"prompt"`
	Completion string  `json:"completion"`
	CacheRead  *string `json:"cache_read"`
	CacheWrite *string `json:"cache_write"`
}

// note is the event's note; known is false for an event that has no such member.
func (d *Data) note() (note string, known bool) {
	if d.Note == nil {
		return "", false
	}
	var s *string
	if json.Unmarshal(d.Note, &s) != nil {
		return string(d.Note), true
	}
	return text(s), true
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Parse reads one event. Members that it does not know are passed over; a member
// that is there twice is an error, since two readers would see two events.
func Parse(line []byte) (*Event, error) {
	if err := onlyOnce(line); err != nil {
		return nil, err
	}
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return nil, fmt.Errorf("not an event: %w", err)
	}
	return &e, nil
}

// deepest bounds how deep an event's JSON may go.
const deepest = 32

// onlyOnce checks that no object has a member twice.
func onlyOnce(line []byte) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	if err := value(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("not JSON: something follows the event")
	}
	return nil
}

func value(dec *json.Decoder, depth int) error {
	if depth > deepest {
		return fmt.Errorf("nested deeper than %d", deepest)
	}
	tok, err := dec.Token()
	if err != nil {
		return fmt.Errorf("not JSON, or torn: %w", err)
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return nil
	}
	seen := make(map[string]bool)
	for dec.More() {
		if delim == '{' {
			tok, err := dec.Token()
			if err != nil {
				return fmt.Errorf("not JSON, or torn: %w", err)
			}
			key, _ := tok.(string)
			if seen[key] {
				return fmt.Errorf("the member %q is there twice", key)
			}
			seen[key] = true
		}
		if err := value(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("not JSON, or torn: %w", err)
	}
	return nil
}
