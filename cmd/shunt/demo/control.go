package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
)

// controlPath precedes the control endpoints; the package comment lists them.
const controlPath = "/_demo/"

func (p *Provider) serveControl(w http.ResponseWriter, r *http.Request) {
	var err error
	switch r.Method + " " + r.URL.Path {
	case "GET /_demo/behaviour":
		writeJSON(w, http.StatusOK, p.behaviours())
		return
	case "GET /_demo/requests":
		writeJSON(w, http.StatusOK, p.Requests())
		return
	case "PUT /_demo/behaviour":
		err = p.putBehaviour(r)
	case "DELETE /_demo/behaviour":
		p.Reset()
	case "POST /_demo/script":
		err = p.postScript(r)
	case "DELETE /_demo/requests":
		p.ForgetRequests()
	default:
		writeError(w, http.StatusNotFound, fmt.Sprintf("no control endpoint %s %s", r.Method, r.URL.Path))
		return
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

type behaviours struct {
	Behaviour Behaviour            `json:"behaviour"`
	Rules     map[string]Behaviour `json:"rules"`
	Script    []Behaviour          `json:"script"`
}

func (p *Provider) behaviours() behaviours {
	p.mu.Lock()
	defer p.mu.Unlock()
	return behaviours{p.now, maps.Clone(p.rules), append([]Behaviour{}, p.script...)}
}

func (p *Provider) putBehaviour(r *http.Request) error {
	var b Behaviour
	if err := decodeStrictly(r.Body, &b); err != nil {
		return err
	}
	if err := b.Validate(); err != nil {
		return err
	}
	if model := r.URL.Query().Get("model"); model != "" {
		p.SetFor(model, b)
	} else {
		p.Set(b)
	}
	return nil
}

func (p *Provider) postScript(r *http.Request) error {
	var script []Behaviour
	if err := decodeStrictly(r.Body, &script); err != nil {
		return err
	}
	for i := range script {
		if err := script[i].Validate(); err != nil {
			return fmt.Errorf("behaviour %d: %w", i, err)
		}
	}
	p.Next(script...)
	return nil
}

func decodeStrictly(from io.Reader, to any) error {
	d := json.NewDecoder(io.LimitReader(from, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("reading the JSON body: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("reading the JSON body: more than one value")
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("content-type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, errorBody{apiError{Message: message, Type: "invalid_request_error"}})
}
