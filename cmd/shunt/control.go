package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/outbox"
)

// startControl serves this program's own commands on a socket that only this user can
// open (SEC-3): what they ask for is held by the running shunt.
func (a *app) startControl(_ context.Context, _ *catalog.Catalog) error {
	l, err := listenUnix(a.place.control())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dead-letters", a.deadLetters)
	mux.HandleFunc("POST /dead-letters/redrive", a.redrive)
	a.serveHTTP("control server", l, mux)
	return nil
}

// mostAnswered bounds an answer: a command asks again for the rest.
const mostAnswered = 500

// lettersOf reads what a command asks for.
func lettersOf(q url.Values) (outbox.Letters, error) {
	which := outbox.Letters{Sink: q.Get("sink"), IDs: q["id"], Most: mostAnswered}
	if text := q.Get("after"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return which, fmt.Errorf("after: %w", err)
		}
		which.After = n
	}
	return which, nil
}

func (a *app) deadLetters(w http.ResponseWriter, r *http.Request) {
	which, err := lettersOf(r.URL.Query())
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	list, err := a.accounts.outbox.DeadLetters(r.Context(), which)
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, list)
}

// redriven is what became of one dead letter.
type redriven struct {
	Number uint64 `json:"number"`
	ID     string `json:"id"`
	Place  string `json:"place"`
	Error  string `json:"error,omitempty"` // "": delivered
}

func (a *app) redrive(w http.ResponseWriter, r *http.Request) {
	which, err := lettersOf(r.URL.Query())
	wait, waitErr := time.ParseDuration(r.URL.Query().Get("wait"))
	if err := errors.Join(err, waitErr); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	all, err := a.accounts.outbox.Redrive(ctx, which)
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	list := make([]redriven, 0, len(all))
	for _, l := range all {
		out := redriven{Number: l.Number, ID: l.ID, Place: l.Place}
		if l.Err != nil {
			out.Error = l.Err.Error()
		}
		list = append(list, out)
	}
	writeJSON(w, http.StatusOK, list)
}

// control asks the running shunt of a configuration. answer is what its JSON goes
// into.
func control(ctx context.Context, c *catalog.Catalog, method, path string, q url.Values, answer any) error {
	socket := placeOf(c).control()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://shunt"+path+"?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return environmentError{fmt.Errorf("no shunt runs with data_dir %s: this is asked of the running one (%w)", c.DataDir, dial.Err)}
	}
	if err != nil {
		return environmentError{fmt.Errorf("ask the running shunt: %w", err)}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return environmentError{fmt.Errorf("ask the running shunt: %w", err)}
	}
	if resp.StatusCode != http.StatusOK {
		var said struct{ Error string }
		if json.Unmarshal(body, &said) != nil || said.Error == "" {
			said.Error = resp.Status
		}
		return environmentError{fmt.Errorf("the running shunt answered: %s", said.Error)}
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return environmentError{fmt.Errorf("read the running shunt's answer: %w", err)}
	}
	return nil
}
