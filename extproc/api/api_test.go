package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/shunt-gateway/shunt/catalog"
)

const config = `
providers:
  moonshot: {endpoint: https://moonshot.example/v1}
  novita: {name: Novita, endpoint: https://novita.example/v3/openai}
  cloudflare: {endpoint: https://cloudflare.example/v1}
  baseten: {endpoint: https://baseten.example/v1}
  framerate: {endpoint: https://framerate.example/v1}
models:
  moonshotai/kimi-k2.6:
    name: Kimi K2.6
    aliases: [kimi-k2.6]
    price: {prompt: 0.5, completion: 2.6}
    offers:
      - {provider: moonshot, model: k2.6}
      - provider: novita
        model: moonshotai/Kimi-K2.6
        distillation:
          status: allowed
          label: License permits distillation
          basis: permissive-open-weights
          source_url: https://example.com/license-or-terms
          note: Provider terms do not record an output-training restriction, and the model-level policy allows distillation.
      - {provider: cloudflare, model: "@cf/kimi"}
      - {provider: baseten, model: kimi}
  gpt-oss-120b:
    price: {prompt: "0.15", completion: 0.6, cache_read: 0.075, request: 0.01}
    offers:
      - {provider: novita, model: gpt-oss, price: {prompt: 0.6, completion: 2.5}, caching: true, parameters: [tools, seed]}
      - {provider: moonshot, model: gpt-oss, enabled: false, tools: true, price: {prompt: 0.123456789, completion: 0}}
      - {provider: baseten, model: gpt-oss, apis: [responses], parameters: [stop]}
  plain:
    provider_selection: false
    offers: [{provider: novita, model: plain, price: {prompt: 1, completion: 1}}]
  video:
    offers:
      - {provider: framerate, model: video, apis: [responses], engines: [hyperframes, lottie]}
      - {provider: baseten, model: video, apis: [responses], engines: [hyperframes], enabled: false}
  another/video:
    offers: [{provider: framerate, model: v2, apis: [chat, responses], engines: [hyperframes]}]
engines: {hyperframes: {default_provider: framerate}, lottie: {default_provider: framerate}}
`

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

const (
	kimi  = `{"id":"moonshotai/kimi-k2.6","object":"model","created":0,"owned_by":"moonshotai","providers":["moonshot","novita","cloudflare","baseten"]}`
	oss   = `{"id":"gpt-oss-120b","object":"model","created":0,"owned_by":"shunt","providers":["novita","baseten"]}`
	plain = `{"id":"plain","object":"model","created":0,"owned_by":"shunt","providers":["novita"]}`
	video = `{"id":"video","object":"model","created":0,"owned_by":"shunt","providers":["framerate"]}`
	other = `{"id":"another/video","object":"model","created":0,"owned_by":"another","providers":["framerate"]}`
)

// API-2.
func TestModels(t *testing.T) {
	h := fixed(parse(t, config))
	whole := `{"object":"list","data":[` + strings.Join([]string{kimi, oss, plain, video, other}, ",") + `]}`
	for target, want := range map[string]string{
		"/v1/models":                            whole,
		"/api/v1/models":                        whole,
		"/v1/models?detailed=false":             whole,
		"/v1/models?detailed=perhaps":           whole,
		"/v1/models/moonshotai%2Fkimi-k2.6":     kimi,
		"/v1/models/moonshotai%2fkimi-k2.6":     kimi,
		"/v1/models/moonshotai/kimi-k2.6":       kimi,
		"/v1/models/kimi-k2.6":                  kimi,
		"/api/v1/models/moonshotai%2Fkimi-k2.6": kimi,
		"/api/v1/models/gpt-oss-120b":           oss,
	} {
		w := do(h, "GET", target)
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v", target, w.Code, w.Header())
		}
		same(t, w.Body.Bytes(), want)
	}
}

func TestModelsDetailed(t *testing.T) {
	h := fixed(parse(t, config))
	const want = `{"id":"gpt-oss-120b","object":"model","created":0,"owned_by":"shunt","providers":["novita","baseten"],
		"name":"gpt-oss-120b","aliases":[],"apis":["chat","completions","responses"],
		"pricing":{"prompt":0.15,"completion":0.6,"cache_read":0.075,"request":0.01,"currency":"USD","unit":"per_million_tokens"},
		"supported_parameters":["tools","seed","stop"],"capabilities":{"caching":true,"tools":false}}`
	same(t, do(h, "GET", "/v1/models/gpt-oss-120b?detailed=true").Body.Bytes(), want)

	for _, target := range []string{"/v1/models?detailed=true", "/api/v1/models?x=1&detailed=1"} {
		body := do(h, "GET", target).Body.Bytes()
		var got struct{ Data []json.RawMessage }
		if err := json.Unmarshal(body, &got); err != nil || len(got.Data) != 5 {
			t.Fatalf("%s: %v, %s", target, err, body)
		}
		same(t, got.Data[1], want)
		// An unpriced model has no pricing.
		if bytes.Contains(got.Data[2], []byte("pricing")) || bytes.Contains(body, []byte("supportsProviderSelection")) {
			t.Errorf("%s: %s", target, body)
		}
	}
}

// API-3. The first case is the example of seed 002, "Discover Providers and Pricing".
func TestProviders(t *testing.T) {
	h := fixed(parse(t, config))
	const example = `{
  "canonicalId": "moonshotai/kimi-k2.6",
  "displayName": "Kimi K2.6",
  "supportsProviderSelection": true,
  "defaultPrice": {
    "inputPer1kTokens": 0.0005,
    "outputPer1kTokens": 0.0026
  },
  "providers": [
    {
      "provider": "moonshot",
      "available": true
    },
    {
      "provider": "novita",
      "available": true,
      "distillationPolicy": {
        "status": "allowed",
        "label": "License permits distillation",
        "basis": "permissive-open-weights",
        "sourceUrl": "https://example.com/license-or-terms",
        "note": "Provider terms do not record an output-training restriction, and the model-level policy allows distillation."
      }
    },
    {
      "provider": "cloudflare",
      "available": true
    },
    {
      "provider": "baseten",
      "available": true
    }
  ]
}`
	for target, want := range map[string]string{
		"/api/models/moonshotai%2Fkimi-k2.6/providers": example,
		"/api/models/moonshotai%2fkimi-k2.6/providers": example,
		"/api/models/kimi-k2.6/providers":              example,
		// Prices exact, 5 % markup included; the default price without it.
		"/api/models/gpt-oss-120b/providers": `{"canonicalId":"gpt-oss-120b","displayName":"gpt-oss-120b",
			"supportsProviderSelection":true,"defaultPrice":{"inputPer1kTokens":0.00015,"outputPer1kTokens":0.0006},
			"providers":[
			{"provider":"novita","available":true,"pricing":{"inputPer1kTokens":0.00063,"outputPer1kTokens":0.002625}},
			{"provider":"moonshot","available":false,"pricing":{"inputPer1kTokens":0.00012962962845,"outputPer1kTokens":0}},
			{"provider":"baseten","available":true}]}`,
		"/api/models/plain/providers": `{"canonicalId":"plain","displayName":"plain","supportsProviderSelection":false,"providers":[]}`,
	} {
		w := do(h, "GET", target)
		if w.Code != 200 {
			t.Errorf("%s: %d", target, w.Code)
		}
		same(t, w.Body.Bytes(), want)
	}
}

func TestProvidersMarkup(t *testing.T) {
	for markup, want := range map[string]string{
		"0%": `{"inputPer1kTokens":0.0006,"outputPer1kTokens":0.0025}`, "12.5%": `{"inputPer1kTokens":0.000675,"outputPer1kTokens":0.0028125}`,
	} {
		h := fixed(parse(t, config+"billing: {markup: "+markup+"}\n"))
		var got struct {
			Providers []struct{ Pricing json.RawMessage }
		}
		if err := json.Unmarshal(do(h, "GET", "/api/models/gpt-oss-120b/providers").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		same(t, got.Providers[0].Pricing, want)
	}
}

// API-4. Engines as in seed 000's table.
func TestEngines(t *testing.T) {
	h := fixed(parse(t, config))
	const want = `{"object":"list","data":[
		{"id":"hyperframes","object":"engine","default_provider":"framerate","providers":[{"provider":"framerate","models":["another/video","video"]}]},
		{"id":"lottie","object":"engine","default_provider":"framerate","providers":[{"provider":"framerate","models":["video"]}]}]}`
	for _, target := range []string{"/v1/engines", "/api/v1/engines"} {
		same(t, do(h, "GET", target).Body.Bytes(), want)
	}
	none := fixed(parse(t, "providers: {p: {endpoint: https://p.example}}\nmodels: {m: {offers: [{provider: p, model: m}]}}\n"))
	same(t, do(none, "GET", "/v1/engines").Body.Bytes(), `{"object":"list","data":[]}`)
}

// API-6, and API-1: anything else is 404.
func TestErrors(t *testing.T) {
	h := fixed(parse(t, config))
	for _, test := range []struct {
		method, target string
		status         int
		param, code    string
	}{
		{"GET", "/v1/models/nope", 404, `"model"`, "model_not_found"},
		{"GET", "/v1/models/moonshotai", 404, `"model"`, "model_not_found"},
		{"GET", "/v1/models/Kimi-K2.6", 404, `"model"`, "model_not_found"},
		{"GET", "/api/models/nope/providers", 404, `"model"`, "model_not_found"},
		{"GET", "/api/models/a%2Fb/providers", 404, `"model"`, "model_not_found"},
		{"HEAD", "/api/models/nope/providers", 404, "", ""},
		{"GET", "/api/models/moonshotai/kimi-k2.6/providers", 404, "null", "not_found"},
		{"GET", "/api/models/kimi-k2.6", 404, "null", "not_found"},
		{"GET", "/api/models/kimi-k2.6/", 404, "null", "not_found"},
		{"GET", "/api/models/kimi-k2.6/providers/", 404, "null", "not_found"},
		{"GET", "/api/v1/models/kimi-k2.6/providers", 404, `"model"`, "model_not_found"},
		{"GET", "/v1/models/", 404, "null", "not_found"},
		{"GET", "/v1//models", 404, "null", "not_found"},
		{"GET", "/v1/x/../models", 404, "null", "not_found"},
		{"GET", "/", 404, "null", "not_found"},
		{"POST", "/", 404, "null", "not_found"},
		{"GET", "/v1/engines/hyperframes", 404, "null", "not_found"},
		{"GET", "/v1/chat/completions", 404, "null", "not_found"},
		{"GET", "/api/models", 404, "null", "not_found"},
		{"GET", "/V1/models", 404, "null", "not_found"},
		{"POST", "/v1/models", 405, "null", "method_not_supported"},
		{"DELETE", "/v1/models/kimi-k2.6", 405, "null", "method_not_supported"},
		{"PUT", "/api/models/kimi-k2.6/providers", 405, "null", "method_not_supported"},
		{"OPTIONS", "/v1/engines", 405, "null", "method_not_supported"},
	} {
		w := do(h, test.method, test.target)
		name := test.method + " " + test.target
		if w.Code != test.status || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("ETag") != "" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
		if (w.Header().Get("Allow") == "GET, HEAD") != (test.status == 405) {
			t.Errorf("%s: allow %q", name, w.Header().Get("Allow"))
		}
		if test.method == "HEAD" {
			continue // the recorder keeps the body that a server drops
		}
		var got struct {
			Error struct {
				Message string
				Type    string
				Param   json.RawMessage
				Code    string
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s: %s", name, w.Body)
		}
		if e := got.Error; e.Message == "" || e.Type != "invalid_request_error" || string(e.Param) != test.param || e.Code != test.code {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
	w := do(New(func() *catalog.Catalog { return nil }, nil), "GET", "/v1/models")
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"overloaded"`) {
		t.Errorf("without a catalog: %d %s", w.Code, w.Body)
	}
}

func TestConditional(t *testing.T) {
	h := fixed(parse(t, config))
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
	again := do(fixed(parse(t, config)), "GET", "/v1/models")
	if seen[again.Header().Get("ETag")] != "/v1/models" {
		t.Error("the same configuration in another process has another ETag")
	}
	changed := do(fixed(parse(t, config+"billing: {markup: 6%}\n")), "GET", "/v1/models")
	if seen[changed.Header().Get("ETag")] != "" {
		t.Error("another configuration has the same ETag")
	}
}

// Through a real server: HEAD has the GET's headers and no body, and OpenAI's own
// client understands the answers.
func TestServed(t *testing.T) {
	s := httptest.NewServer(fixed(parse(t, config)))
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
