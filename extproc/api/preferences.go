package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/openai"
	"github.com/shunt-gateway/shunt/policy/prefs"
)

// Preferences is what saved preferences need (API-5).
type Preferences struct {
	Store prefs.Store
	// Session returns the keyed hash of the user that a request's session belongs
	// to; false without an authenticated session.
	Session func(*http.Request) (user string, ok bool)
}

// storeTimeout bounds one call of the store.
const storeTimeout = 3 * time.Second

const (
	codeConflict           = "conflict"
	codePreconditionFailed = "precondition_failed"
)

// serve answers GET, PATCH and DELETE of a user's preferences (PREF-2). A change is
// answered with the document as it stands then.
func (p *Preferences) serve(w http.ResponseWriter, r *http.Request, c *catalog.Catalog) {
	var run func(context.Context, string, *http.Request, *catalog.Catalog) (prefs.Document, error)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		run = p.get
	case http.MethodPatch:
		run = p.patch
	case http.MethodDelete:
		run = p.remove
	default:
		w.Header().Set("Allow", "GET, HEAD, PATCH, DELETE")
		refuse(w, http.StatusMethodNotAllowed, openai.CodeMethodNotSupported, "", "this endpoint answers GET, PATCH and DELETE")
		return
	}
	// PREF-1: an API key alone: 401 `session_required`.
	user, ok := p.Session(r)
	if !ok {
		refuse(w, http.StatusUnauthorized, openai.CodeSessionRequired, "", "saved preferences belong to a logged-in session")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	doc, err := run(ctx, user, r, c)
	if err != nil {
		refusePreferences(w, err)
		return
	}
	body := prefs.Render(doc, c)
	w.Header().Set("Cache-Control", "private, no-store")
	w.Header().Set("ETag", tagOf(body))
	writeJSON(w, http.StatusOK, body)
}

// tagOf is the entity tag of a user's preferences as they are shown.
func tagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// unchanged refuses a change that its caller wants only if the preferences still are
// those of If-Match (RFC 9110, 13.1.1).
func unchanged(r *http.Request, current prefs.Document, c *catalog.Catalog) error {
	lists := r.Header.Values("If-Match")
	if len(lists) == 0 {
		return nil
	}
	want := tagOf(prefs.Render(current, c))
	for _, list := range lists {
		for tag := range strings.SplitSeq(list, ",") {
			if tag = strings.TrimSpace(tag); tag == "*" || tag == want {
				return nil
			}
		}
	}
	return &prefs.Problem{Status: http.StatusPreconditionFailed, Code: codePreconditionFailed, Param: "If-Match",
		Message: "the preferences have changed since: read them and try again"}
}

func (p *Preferences) get(ctx context.Context, user string, _ *http.Request, _ *catalog.Catalog) (prefs.Document, error) {
	doc, _, err := p.Store.Get(ctx, user)
	return doc, err
}

func (p *Preferences) patch(ctx context.Context, user string, r *http.Request, c *catalog.Catalog) (prefs.Document, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, prefs.MaxBody+1)) // Patch refuses one byte too many
	if err != nil {
		return prefs.Document{}, &prefs.Problem{Status: http.StatusBadRequest, Code: prefs.CodeInvalidInput, Message: "the body ended early"}
	}
	return p.Store.Update(ctx, user, func(current prefs.Document) (prefs.Document, error) {
		if err := unchanged(r, current, c); err != nil {
			return current, err
		}
		changed, problem := prefs.Patch(current, body, c)
		if problem != nil {
			return current, problem
		}
		return changed, nil
	})
}

func (p *Preferences) remove(ctx context.Context, user string, r *http.Request, c *catalog.Catalog) (prefs.Document, error) {
	if len(r.Header.Values("If-Match")) == 0 {
		return prefs.Document{}, p.Store.Delete(ctx, user)
	}
	// A store deletes whatever there is; on condition, it replaces it with nothing.
	return p.Store.Update(ctx, user, func(current prefs.Document) (prefs.Document, error) {
		return prefs.Document{}, unchanged(r, current, c)
	})
}

// refusePreferences maps what a store says to an answer.
func refusePreferences(w http.ResponseWriter, err error) {
	var problem *prefs.Problem
	switch {
	case errors.As(err, &problem):
		refuse(w, problem.Status, problem.Code, problem.Param, problem.Message)
	case errors.Is(err, prefs.ErrConflict):
		refuse(w, http.StatusConflict, codeConflict, "", "the preferences were changed elsewhere at the same time; read them and try again")
	default:
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, openai.CodeOverloaded, "", "saved preferences are not available now; try again")
	}
}
