// Package api answers what clients ask about the catalog: models, a model's
// providers, engines (API-2 … API-4); and keeps users' preferences (API-5). Envoy forwards these requests to it; routed
// requests never come here.
package api

import (
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/openai"
	"github.com/shunt-gateway/shunt/policy"
)

// New returns the handler. current gives the catalog of the moment, or nil while
// there is none yet; it is called once a request, so a request sees one catalog.
// Without p there are no saved preferences, and their endpoint is unknown.
func New(current func() *catalog.Catalog, p *Preferences) http.Handler {
	h := &handler{current: current, mux: http.NewServeMux()}
	for _, base := range []string{"/v1", "/api/v1"} {
		h.mux.Handle(base+"/models", h.get(getModels))
		h.mux.Handle(base+"/models/{id...}", h.get(getModel))
		h.mux.Handle(base+"/engines", h.get(getEngines))
	}
	h.mux.Handle("/api/models/{id}/providers", h.get(getProviders))
	h.mux.HandleFunc("/api/models", notFound)
	h.mux.HandleFunc("/api/models/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, openai.CodeNotFound, "",
			"no such endpoint: /api/models/{id}/providers takes the slash in an id as %2F")
	})
	if p != nil {
		h.mux.HandleFunc("/api/user/provider-preferences", func(w http.ResponseWriter, r *http.Request) {
			if c := current(); c != nil {
				p.serve(w, r, c)
				return
			}
			starting(w)
		})
	}
	h.mux.HandleFunc("/", notFound)
	return h
}

type handler struct {
	current func() *catalog.Catalog
	mux     *http.ServeMux
	cached  atomic.Pointer[pages]
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The mux would redirect these, in HTML.
	if p := r.URL.EscapedPath(); path.Clean(p) != p {
		notFound(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// pages returns what is rendered of the current catalog. All requests of one
// catalog share it.
func (h *handler) pages() *pages {
	for {
		c := h.current()
		if c == nil {
			return nil
		}
		old := h.cached.Load()
		if old != nil && old.catalog == c {
			return old
		}
		if fresh := newPages(c); h.cached.CompareAndSwap(old, fresh) {
			return fresh
		}
	}
}

// lookup finds the page that a request asks for; false: no such model.
type lookup func(*pages, *http.Request) (page, bool)

func getModels(p *pages, r *http.Request) (page, bool) { return p.models(detailed(r)).all, true }

func getModel(p *pages, r *http.Request) (page, bool) {
	m, ok := p.catalog.Model(r.PathValue("id"))
	if !ok {
		return page{}, false
	}
	return p.models(detailed(r)).each[m], true
}

func getProviders(p *pages, r *http.Request) (page, bool) {
	m, ok := p.catalog.Model(r.PathValue("id"))
	if !ok {
		return page{}, false
	}
	return p.providers[m](), true
}

func getEngines(p *pages, _ *http.Request) (page, bool) { return p.engines(), true }

func detailed(r *http.Request) bool {
	if r.URL.RawQuery == "" {
		return false
	}
	yes, _ := strconv.ParseBool(r.URL.Query().Get("detailed"))
	return yes
}

func (h *handler) get(find lookup) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			refuse(w, http.StatusMethodNotAllowed, openai.CodeMethodNotSupported, "", "this endpoint answers GET and HEAD")
			return
		}
		p := h.pages()
		if p == nil {
			starting(w)
			return
		}
		out, ok := find(p, r)
		if !ok {
			refuse(w, http.StatusNotFound, policy.CodeModelNotFound, "model", "no model has this id or alias")
			return
		}
		out.serve(w, r)
	})
}

func starting(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	refuse(w, http.StatusServiceUnavailable, openai.CodeOverloaded, "", "starting up; try again")
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	refuse(w, http.StatusNotFound, openai.CodeNotFound, "", "no such endpoint")
}

// refuse answers an error in the API's shape (API-6).
func refuse(w http.ResponseWriter, status int, code, param, message string) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, openai.NewError(status, code, param, message).JSON())
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away is no one's business
}

// serve answers a page, or 304 to a client that has it. Prices are in it: caches
// may keep it, and must ask before they use it.
func (p page) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("ETag", p.etag)
	h.Set("Cache-Control", "public, no-cache")
	if p.isAmong(r.Header.Values("If-None-Match")) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	writeJSON(w, http.StatusOK, p.body)
}

// isAmong compares weakly, as If-None-Match does (RFC 9110, 13.1.2).
func (p page) isAmong(lists []string) bool {
	for _, list := range lists {
		for tag := range strings.SplitSeq(list, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || strings.TrimPrefix(tag, "W/") == p.etag {
				return true
			}
		}
	}
	return false
}
