package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/extproc/billing/audit"
)

// Event is a billing event as a consumer reads it: by its documented names, with
// none of the program's own types.
type Event struct {
	SpecVersion string `json:"specversion"`
	Type        string `json:"type"`
	ID          string `json:"id"`
	Source      string `json:"source"`
	Subject     string `json:"subject"`
	Data        struct {
		StartedAt      time.Time `json:"started_at"`
		EndedAt        time.Time `json:"ended_at"`
		API            string    `json:"api"`
		Stream         bool      `json:"stream"`
		RequestedModel string    `json:"requested_model"`
		Model          string    `json:"model"`
		Provider       string    `json:"provider"`
		UpstreamModel  string    `json:"upstream_model"`
		Status         string    `json:"status"`
		Decision       struct {
			Kind    string `json:"kind"`
			Catalog string `json:"catalog"`
		} `json:"decision"`
		Attempts []struct {
			Provider      string `json:"provider"`
			UpstreamModel string `json:"upstream_model"`
			Outcome       string `json:"outcome"`
			Status        int    `json:"status"`
			DurationMS    *int64 `json:"duration_ms"`
		} `json:"attempts"`
		Usage struct {
			Source           string `json:"source"`
			PromptTokens     int64  `json:"prompt_tokens"`
			CompletionTokens int64  `json:"completion_tokens"`
			CacheReadTokens  int64  `json:"cache_read_tokens"`
			CacheWriteTokens int64  `json:"cache_write_tokens"`
			ReasoningTokens  int64  `json:"reasoning_tokens"`
		} `json:"usage"`
		Price       map[string]any `json:"price"`
		Amount      string         `json:"amount"`
		ListAmount  string         `json:"list_amount"`
		Currency    string         `json:"currency"`
		BillingMode string         `json:"billing_mode"`
		Note        string         `json:"note"`
	} `json:"data"`
}

// Events waits until the file sink holds at least n events and returns all of them
// in its order.
func (s *Shunt) Events(t testing.TB, n int) []Event {
	t.Helper()
	var all []Event
	Eventually(t, fmt.Sprintf("%d billing events", n), func() (err error) {
		all, err = s.AllEvents()
		if err == nil && len(all) < n {
			err = fmt.Errorf("%d of %d events so far", len(all), n)
		}
		return err
	})
	return all
}

// Event waits for the event of a request and returns it.
func (s *Shunt) Event(t testing.TB, id string) Event {
	t.Helper()
	if id == "" {
		t.Fatal("the event of which request? its id is empty")
	}
	var e Event
	Eventually(t, "the billing event of "+id, func() error {
		all, err := s.AllEvents()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(e Event) bool { return e.ID == id })
		if i < 0 {
			return fmt.Errorf("%d other events", len(all))
		}
		e = all[i]
		return nil
	})
	return e
}

// AllEvents are those in the file sink by now.
func (s *Shunt) AllEvents() ([]Event, error) {
	return s.events.read(filepath.Join(s.Dir, "events.jsonl"))
}

// eventFile reads a file sink on from where it stopped.
type eventFile struct {
	mu     sync.Mutex
	at     int64
	events []Event
}

func (f *eventFile) read(path string) ([]Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.NewSectionReader(file, f.at, 1<<40))
	if err != nil {
		return nil, err
	}
	for {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		if !whole {
			return f.events, nil // half a line is still being written
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, permanent{fmt.Errorf("%s: %w in %q", path, err, line)}
		}
		if err := addsUp(line); err != nil {
			return nil, permanent{fmt.Errorf("%s: %w in %q", path, err, line)}
		}
		f.events = append(f.events, e)
		f.at += int64(len(line)) + 1
		data = rest
	}
}

// addsUp is what `shunt billing verify` asks of every event, whatever a test looks
// at.
func addsUp(line []byte) error {
	e, err := audit.Parse(line)
	if err != nil {
		return err
	}
	if problems := audit.Check(e); problems != nil {
		return fmt.Errorf("the event does not add up: %s", strings.Join(problems, "; "))
	}
	return nil
}
