package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy/conformance"
)

// testdata are the cases that also run through Envoy, and the catalog of all tests here.
const testdata = "../../policy/testdata/endpoints/"

func read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(testdata + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func parse(t testing.TB, text string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Data: []byte(text), Dir: "/etc/shunt"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func fixed(c *catalog.Catalog) http.Handler { return New(func() *catalog.Catalog { return c }, nil) }

func do(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// same compares JSON as values, numbers by their spelling.
func same(t *testing.T, got []byte, want string) {
	t.Helper()
	values := [2]any{}
	for i, text := range []string{string(got), want} {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&values[i]); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	if !reflect.DeepEqual(values[0], values[1]) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// API-1 … API-4, API-6: the cases that also run through Envoy.
func TestEndpoints(t *testing.T) {
	h := fixed(parse(t, read(t, "catalog.yaml")))
	cases, err := conformance.ParseEndpoints(read(t, "endpoints.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		w := do(h, c.Method, c.Path)
		if err := c.Check(w.Code, w.Body.Bytes()); err != nil {
			t.Errorf("%s: %v", c.ID, err)
		}
		refused := w.Code != 200
		if head := w.Header(); head.Get("Content-Type") != "application/json" || (head.Get("Cache-Control") == "no-store") != refused || (head.Get("ETag") == "") != refused {
			t.Errorf("%s: %v", c.ID, head)
		}
	}
}

// API-2: the whole list in detail.
func TestModelsDetailed(t *testing.T) {
	h := fixed(parse(t, read(t, "catalog.yaml")))
	one := do(h, "GET", "/v1/models/gpt-oss-120b?detailed=true").Body.Bytes()
	for _, target := range []string{"/v1/models?detailed=true", "/api/v1/models?x=1&detailed=1"} {
		body := do(h, "GET", target).Body.Bytes()
		var got struct{ Data []json.RawMessage }
		if err := json.Unmarshal(body, &got); err != nil || len(got.Data) != 5 {
			t.Fatalf("%s: %v, %s", target, err, body)
		}
		same(t, got.Data[1], string(one))
		// An unpriced model has no pricing.
		if bytes.Contains(got.Data[2], []byte("pricing")) || bytes.Contains(body, []byte("supportsProviderSelection")) {
			t.Errorf("%s: %s", target, body)
		}
	}
}

func TestProvidersMarkup(t *testing.T) {
	for markup, want := range map[string]string{
		"0%": `{"inputPer1kTokens":0.0006,"outputPer1kTokens":0.0025}`, "12.5%": `{"inputPer1kTokens":0.000675,"outputPer1kTokens":0.0028125}`,
	} {
		h := fixed(parse(t, read(t, "catalog.yaml")+"billing: {markup: "+markup+"}\n"))
		var got struct {
			Providers []struct{ Pricing json.RawMessage }
		}
		if err := json.Unmarshal(do(h, "GET", "/api/models/gpt-oss-120b/providers").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		same(t, got.Providers[0].Pricing, want)
	}
}

// API-4: a catalog without engines.
func TestNoEngines(t *testing.T) {
	none := fixed(parse(t, "providers: {p: {endpoint: https://p.example}}\nmodels: {m: {offers: [{provider: p, model: m}]}}\n"))
	same(t, do(none, "GET", "/v1/engines").Body.Bytes(), `{"object":"list","data":[]}`)
}

// API-6: what no case of the file shows: paths that Envoy never sends here, the methods
// that are allowed, and the time before there is a catalog.
func TestErrors(t *testing.T) {
	h := fixed(parse(t, read(t, "catalog.yaml")))
	for _, target := range []string{"/v1/x/../models", "/v1//models", "/x"} {
		if w := do(h, "GET", target); w.Code != 404 || !strings.Contains(w.Body.String(), `"not_found"`) {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	for _, target := range []string{"/v1/models", "/v1/models/kimi-k2.6", "/api/models/kimi-k2.6/providers", "/v1/engines"} {
		if w := do(h, "POST", target); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: %d, allow %q", target, w.Code, w.Header().Get("Allow"))
		}
	}
	if w := do(h, "HEAD", "/api/models/nope/providers"); w.Code != 404 {
		t.Errorf("HEAD: %d", w.Code)
	}
	w := do(New(func() *catalog.Catalog { return nil }, nil), "GET", "/v1/models")
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"overloaded"`) {
		t.Errorf("without a catalog: %d %s", w.Code, w.Body)
	}
}

func TestConditional(t *testing.T) {
	h := fixed(parse(t, read(t, "catalog.yaml")))
	seen := map[string]string{}
	for _, target := range []string{
		"/v1/models", "/v1/models?detailed=true", "/v1/models/video", "/v1/models/video?detailed=true",
		"/v1/models/plain", "/api/models/video/providers", "/api/models/plain/providers", "/v1/engines",
	} {
		w := do(h, "GET", target)
		tag := w.Header().Get("ETag")
		if before, dup := seen[tag]; dup || len(tag) != 34 || !strings.HasPrefix(tag, `"`) {
			t.Errorf("%s: ETag %s, as %s", target, tag, before)
		}
		seen[tag] = target
		if got := w.Header().Get("Cache-Control"); got != "public, no-cache" {
			t.Errorf("%s: cache-control %q", target, got)
		}
		for _, list := range [][]string{
			{tag}, {"W/" + tag}, {"*"}, {`"x", ` + tag + ` ,"y"`}, {`"x"`, tag},
		} {
			var header []string
			for _, l := range list {
				header = append(header, "If-None-Match", l)
			}
			for _, method := range []string{"GET", "HEAD"} {
				w := do(h, method, target, header...)
				if w.Code != 304 || w.Body.Len() != 0 || w.Header().Get("ETag") != tag || w.Header().Get("Content-Length") != "" {
					t.Errorf("%s %s: %d %v for %q", method, target, w.Code, w.Header(), list)
				}
			}
		}
		for _, other := range []string{"", `"x"`, strings.Trim(tag, `"`), tag + "x"} {
			if w := do(h, "GET", target, "If-None-Match", other); w.Code != 200 || w.Body.Len() == 0 {
				t.Errorf("%s: %d for %q", target, w.Code, other)
			}
		}
	}
	again := do(fixed(parse(t, read(t, "catalog.yaml"))), "GET", "/v1/models")
	if seen[again.Header().Get("ETag")] != "/v1/models" {
		t.Error("the same configuration in another process has another ETag")
	}
	changed := do(fixed(parse(t, read(t, "catalog.yaml")+"billing: {markup: 6%}\n")), "GET", "/v1/models")
	if seen[changed.Header().Get("ETag")] != "" {
		t.Error("another configuration has the same ETag")
	}
}

// Through a real server: HEAD has the GET's headers and no body, and OpenAI's own
// client understands the answers.
func TestServed(t *testing.T) {
	s := httptest.NewServer(fixed(parse(t, read(t, "catalog.yaml"))))
	defer s.Close()
	get, err := s.Client().Get(s.URL + "/api/models/moonshotai%2Fkimi-k2.6/providers")
	if err != nil {
		t.Fatal(err)
	}
	defer get.Body.Close()
	head, err := s.Client().Head(get.Request.URL.String())
	if err != nil {
		t.Fatal(err)
	}
	defer head.Body.Close()
	body, _ := io.ReadAll(get.Body)
	empty, _ := io.ReadAll(head.Body)
	if head.StatusCode != 200 || len(empty) != 0 || head.ContentLength != int64(len(body)) || head.Header.Get("ETag") != get.Header.Get("ETag") {
		t.Errorf("HEAD: %d, %d bytes, %v", head.StatusCode, len(empty), head.Header)
	}

	ctx := context.Background()
	client := sdk.NewClient(option.WithBaseURL(s.URL+"/v1"), option.WithAPIKey("any"), option.WithMaxRetries(0))
	models, err := client.Models.List(ctx)
	if err != nil || len(models.Data) != 5 || models.Data[0].ID != "moonshotai/kimi-k2.6" || models.Data[0].OwnedBy != "moonshotai" {
		t.Errorf("list: %v, %+v", err, models)
	}
	one, err := client.Models.Get(ctx, "moonshotai/kimi-k2.6")
	if err != nil || one.ID != "moonshotai/kimi-k2.6" {
		t.Errorf("get: %v, %+v", err, one)
	}
	_, err = client.Models.Get(ctx, "nope")
	if e, ok := err.(*sdk.Error); !ok || e.StatusCode != 404 || e.Code != "model_not_found" || e.Type != "invalid_request_error" {
		t.Errorf("unknown model: %v", err)
	}
}
