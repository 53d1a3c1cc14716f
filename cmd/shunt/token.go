package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// withToken asks for `Authorization: Bearer <admin_token>` where one is configured.
// /healthz stays open: it says nothing but that the process is alive.
func (a *app) withToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" && !a.mayAdmin(r) {
			w.Header().Set("www-authenticate", `Bearer realm="shunt admin"`)
			writeJSON(w, http.StatusUnauthorized, map[string]any{"status": "refused", "reason": "send Authorization: Bearer <admin_token>"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *app) mayAdmin(r *http.Request) bool {
	c := a.current()
	if c == nil || c.AdminToken.IsZero() {
		return true
	}
	want, err := resolve(c.AdminToken)
	if err != nil {
		a.log.Error("admin_token cannot be read", "error", err)
		return false
	}
	scheme, got, _ := strings.Cut(r.Header.Get("authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return false
	}
	g, w := sha256.Sum256([]byte(strings.TrimSpace(got))), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(g[:], w[:]) == 1
}
