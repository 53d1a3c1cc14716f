package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shunt-gateway/shunt/catalog"
)

// large has models × providers offers.
func large(models, providers int) string {
	var b strings.Builder
	b.WriteString("providers:\n")
	for i := range providers {
		fmt.Fprintf(&b, "  p%d: {endpoint: https://p%d.example/v1}\n", i, i)
	}
	b.WriteString("models:\n")
	for i := range models {
		fmt.Fprintf(&b, "  vendor/m%d:\n    price: {prompt: 0.%d, completion: 1}\n    offers:\n", i, i+1)
		for j := range providers {
			fmt.Fprintf(&b, "      - {provider: p%d, model: m, price: {prompt: 0.5, completion: 1.%d}}\n", j, j)
		}
	}
	return b.String()
}

// A request must not render what an earlier one did.
func TestRenderedOncePerCatalog(t *testing.T) {
	c := parse(t, large(200, 20))
	h := fixed(c)
	for _, target := range []string{
		"/v1/models", "/v1/models?detailed=true", "/v1/models/vendor%2Fm7", "/api/models/vendor%2Fm7/providers", "/v1/engines",
	} {
		do(h, "GET", target)
		r := httptest.NewRequest("GET", target, nil)
		r.Header.Set("If-None-Match", "*")
		allocs := testing.AllocsPerRun(20, func() { h.ServeHTTP(httptest.NewRecorder(), r) })
		if allocs > 30 {
			t.Errorf("%s: %v allocations", target, allocs)
		}
	}
	inner := h.(*handler)
	first := inner.pages()
	if first != inner.pages() || &first.brief().all.body[0] != &inner.pages().brief().all.body[0] {
		t.Error("rendered again")
	}
}

// Requests during reloads see one catalog each, whole.
func TestReload(t *testing.T) {
	catalogs := []*catalog.Catalog{parse(t, large(3, 2)), parse(t, large(5, 3))}
	bodies := map[string]string{}
	for _, c := range catalogs {
		w := do(fixed(c), "GET", "/v1/models")
		bodies[w.Header().Get("ETag")] = w.Body.String()
	}
	var current atomic.Pointer[catalog.Catalog]
	current.Store(catalogs[0])
	h := New(current.Load, nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 300 {
				w := do(h, "GET", "/v1/models")
				if want, ok := bodies[w.Header().Get("ETag")]; !ok || w.Body.String() != want {
					t.Errorf("%d: %s", w.Code, w.Body)
					return
				}
			}
		})
	}
	for i := range 300 {
		current.Store(catalogs[i%2])
	}
	wg.Wait()
	current.Store(catalogs[1])
	if w := do(h, "GET", "/v1/models"); !strings.Contains(w.Body.String(), "vendor/m4") {
		t.Errorf("after the last reload: %s", w.Body)
	}
}

// go test ./extproc/api -run '^$' -bench . -benchtime 1s
func BenchmarkModels(b *testing.B) {
	c := parse(b, large(1000, 50))
	h := fixed(c)
	get := func(b *testing.B, h http.Handler, target string) {
		if w := do(h, "GET", target); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			get(b, fixed(c), "/v1/models?detailed=true")
		}
	})
	for _, target := range []string{"/v1/models", "/api/models/vendor%2Fm7/providers"} {
		b.Run("kept "+target, func(b *testing.B) {
			r := httptest.NewRequest("GET", target, nil)
			r.Header.Set("If-None-Match", "*")
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
