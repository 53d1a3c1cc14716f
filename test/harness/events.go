package harness

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
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
		API            string `json:"api"`
		Stream         bool   `json:"stream"`
		RequestedModel string `json:"requested_model"`
		Model          string `json:"model"`
		Provider       string `json:"provider"`
		UpstreamModel  string `json:"upstream_model"`
		Status         string `json:"status"`
		Decision       struct {
			Kind    string `json:"kind"`
			Catalog string `json:"catalog"`
		} `json:"decision"`
		Attempts []struct {
			Provider      string `json:"provider"`
			UpstreamModel string `json:"upstream_model"`
			Outcome       string `json:"outcome"`
			Status        int    `json:"status"`
			DurationMS    int64  `json:"duration_ms"`
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
	} `json:"data"`
}

// Events waits until the file sink holds at least n events and returns all of them
// in its order.
func (s *Shunt) Events(t testing.TB, n int) []Event {
	t.Helper()
	var events []Event
	Eventually(t, fmt.Sprintf("%d billing events", n), func() (err error) {
		events, err = readEvents(filepath.Join(s.Dir, "events.jsonl"))
		if err == nil && len(events) < n {
			err = fmt.Errorf("%d of %d events so far", len(events), n)
		}
		return err
	})
	return events
}

func readEvents(path string) ([]Event, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Event
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("%s: %w in %q", path, err, lines.Text())
		}
		out = append(out, e)
	}
	return out, lines.Err()
}
