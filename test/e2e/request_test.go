package e2e

import (
	"strings"
	"testing"
)

// REQ-1: what a provider gets is what the client sent, byte for byte, but for the
// model and the fields that are shunt's.
func TestRequestBytes(t *testing.T) {
	t.Parallel()
	const prompt = `"messages":[{"role":"user","content":"hi"}]`
	for _, tc := range []struct {
		name, in string
		want     string // "": in
	}{
		{"REQ-1 spacing", " {\n\t\"model\" :\r\n \"MODEL\"  ,  " + prompt + " \n}\n ", ""},
		{"REQ-1 key order", `{"z":1,` + prompt + `,"model":"MODEL","a":{"z":1,"a":2}}`, ""},
		{"REQ-1 number spelling", `{"model":"MODEL","temperature":1e0,"top_p":1.0000000000000000001,"seed":-0,"n":1E+2,"big":12345678901234567890123,` + prompt + `}`, ""},
		{"REQ-1 escapes", `{"model":"MODEL","x":"\u00e9\/\ud83d\ude00é😀\u0000\b","\u006b":1,` + prompt + `}`, ""},
		{"REQ-1 unknown fields", `{"model":"MODEL","extra_body":{"provider":"kept","caching":true},"vendor.x":[[],{}],"":null,` + prompt + `}`, ""},
		{"REQ-1 lone surrogate", `{"model":"MODEL","x":"\ud800",` + prompt + `}`, ""},
		{"REQ-1 escaped model", `{"model":"\u006d` + `REST",` + prompt + `}`, ""},
		{"REQ-1 escaped key", `{"mod\u0065l":"MODEL",` + prompt + `}`, ""},
		{"REQ-1 filter fields at the end",
			`{"model":"MODEL",` + prompt + `, "provider":{"order":["p0"]} , "models":[],"variant_id":null,"caching":false,"stickyprovider":false,"stickyProvider":false,"billing_mode":"paygo" }`,
			`{"model":"MODEL",` + prompt + ` }`},
		{"REQ-1 filter fields at the beginning",
			`{ "provider" : "p0" ,"billing_mode":"paygo","stickyProvider":true, "model":"MODEL",` + prompt + `}`,
			`{ "model":"MODEL",` + prompt + `}`},
		{"REQ-1 filter fields in between",
			`{"model":"MODEL","provider":{"sort":"none"},` + prompt + `,"variant_id":null,"caching":false,"last":1}`,
			`{"model":"MODEL",` + prompt + `,"last":1}`},
		{"SEL-15 model_id", `{"model_id":"MODEL",` + prompt + `}`, `{"model":"MODEL",` + prompt + `}`},
		{"SEL-15 model_id last", `{` + prompt + `, "model_id" : "MODEL" }`, `{` + prompt + `, "model" : "MODEL" }`},
		{"SEL-15 model_id and model", `{"model_id":"MODEL","model":"MODEL",` + prompt + `}`, `{"model":"MODEL",` + prompt + `}`},
		{"REQ-2 suffix", `{"model":"MODEL:price:p0",` + prompt + `}`, "refused"},
		{"REQ-2 provider suffix", `{"model":"MODEL:p0",` + prompt + `}`, `{"model":"MODEL",` + prompt + `}`},
		{"REQ-2 prefix", `{"model":"p0/MODEL",` + prompt + `}`, `{"model":"MODEL",` + prompt + `}`},
		{"REQ-1 nothing but a model", `{"model":"MODEL"}`, ""},
		{"REQ-1 deep nesting", `{"model":"MODEL","x":` + strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200) + `}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, first := range []string{"", "p0"} { // as the first attempt writes it, and as a retry does
				p := newProbe(t)
				slug := "p0"
				if first != "" {
					slug = "p1"
					p.fail(503, "p1")
				}
				if strings.Contains(tc.in, "p0") && first != "" {
					continue // names the provider that is to fail
				}
				in := strings.ReplaceAll(strings.ReplaceAll(tc.in, "MODEL", p.model), "REST", p.model[1:])
				a := p.post(chatPath, in)
				if tc.want == "refused" {
					if a.Status != 400 {
						t.Errorf("got %d\n%s", a.Status, a.Body)
					}
					continue
				}
				want := tc.want
				if want == "" {
					want = tc.in
				}
				upstream := p.fake(slug).upstream(p.model)
				want = strings.ReplaceAll(strings.Replace(want, `\u006d`+"REST", "MODEL", 1), "MODEL", upstream)
				if a.Status != 200 {
					t.Fatalf("got %d\n%s", a.Status, a.Body)
				}
				if got := p.last(slug).Body; got != want {
					t.Errorf("%s got\n%q\nwant\n%q", slug, got, want)
				}
			}
		})
	}
}

// REQ-1: two readers must not see two requests.
func TestAmbiguousRequests(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"REQ-1 the model twice":            `{"model":"MODEL","model":"MODEL"}`,
		"REQ-1 the model twice, escaped":   `{"model":"MODEL","mod\u0065l":"other"}`,
		"REQ-1 any key twice":              `{"model":"MODEL","x":1,"x":1}`,
		"REQ-1 a filter field twice":       `{"model":"MODEL","provider":"p0","provider":"p1"}`,
		"API-6 not JSON":                   `{"model":"MODEL"`,
		"API-6 more than one value":        `{"model":"MODEL"}{"model":"MODEL"}`,
		"API-6 trailing comma":             `{"model":"MODEL",}`,
		"API-6 an array":                   `[{"model":"MODEL"}]`,
		"API-6 a string":                   `"MODEL"`,
		"API-6 nothing":                    ``,
		"API-6 white space":                "  \n",
		"API-6 not UTF-8":                  "{\"model\":\"MODEL\",\"x\":\"\xff\"}",
		"API-6 a control character":        "{\"model\":\"MODEL\",\"x\":\"a\nb\"}",
		"API-6 a number that is not one":   `{"model":"MODEL","x":01}`,
		"API-6 a byte order mark":          "\ufeff" + `{"model":"MODEL"}`,
		"API-6 nested without a good stop": `{"model":"MODEL","x":` + strings.Repeat("[", 100_000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProbe(t)
			a := p.post(chatPath, strings.ReplaceAll(body, "MODEL", p.model))
			a.wantError(t, 400, "invalid_json", "")
			for _, f := range p.fakes {
				if n := len(p.seen(f.slug)); n != 0 {
					t.Errorf("%s got %d requests", f.slug, n)
				}
			}
		})
	}
}
