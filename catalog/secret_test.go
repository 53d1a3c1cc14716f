package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

func environment(name string) (string, bool) {
	v, ok := map[string]string{"A": "alpha", "B": "beta", "EMPTY": "", "SPACE": " ", "CRLF": "x\r\ny: z"}[name]
	return v, ok
}

func files(name string) ([]byte, error) {
	if v, ok := map[string]string{
		"/unix": "key\n", "/dos": "key\r\n", "/bare": "key", "/two": "key\n\n", "/empty": "\n", "/nul": "k\x00ey",
	}[name]; ok {
		return []byte(v), nil
	}
	return nil, fs.ErrNotExist
}

func TestResolve(t *testing.T) {
	for _, tt := range []struct {
		secret Secret
		want   string
		err    error
		names  string // in the error
	}{
		{Secret{}, "", nil, ""},
		{newSecret("${A}", ""), "alpha", nil, ""},
		{newSecret("Token ${A}:${B}:${A}", ""), "Token alpha:beta:alpha", nil, ""},
		{newSecret("sk-literal", ""), "sk-literal", nil, ""},
		{newSecret("$5", ""), "$5", nil, ""},
		{newSecret("${A}${UNSET}${OTHER}", ""), "", ErrSecretUnset, "environment variable UNSET is not set"},
		{newSecret("${EMPTY}", ""), "", ErrSecretEmpty, "environment variable EMPTY is empty"},
		{newSecret("${SPACE}", ""), "", ErrSecretEmpty, "environment variable SPACE is empty"},
		{newSecret("${EMPTY}${EMPTY}", ""), "", ErrSecretEmpty, "EMPTY"},
		{newSecret("${CRLF}", ""), "", ErrSecretControl, "CRLF contains a line break"},
		{newSecret("${A}${CRLF}", ""), "", ErrSecretControl, "A, CRLF"},
		{newSecret("", "/unix"), "key", nil, ""},
		{newSecret("", "/dos"), "key", nil, ""},
		{newSecret("", "/bare"), "key", nil, ""},
		{newSecret("", "/two"), "", ErrSecretControl, "/two"},
		{newSecret("", "/empty"), "", ErrSecretEmpty, "/empty"},
		{newSecret("", "/nul"), "", ErrSecretControl, "/nul"},
		{newSecret("", "/none"), "", fs.ErrNotExist, "secret file /none: file does not exist"},
	} {
		got, err := tt.secret.Resolve(environment, files)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%v: got %q, %v; want %q, %v", tt.secret.text(), got, err, tt.want, tt.err)
		}
		if err != nil && (!strings.Contains(err.Error(), tt.names) || strings.Contains(err.Error(), "x\r")) {
			t.Errorf("%v: the error is %q, want %q in it", tt.secret.text(), err, tt.names)
		}
	}
}

func TestSecretParts(t *testing.T) {
	s := newSecret("x${A}${B}${A}$C", "")
	equal(t, "env", s.Env(), []string{"A", "B"})
	_, only := s.EnvOnly()
	equal(t, "env only", only, false)
	name, only := newSecret("${A}", "").EnvOnly()
	equal(t, "env only", [...]any{name, only}, [...]any{"A", true})
	blanked, literal := s.literal()
	equal(t, "literal", [...]any{blanked, literal}, [...]any{"\x00${A}${B}${A}\x00", true})
	equal(t, "file", newSecret("", "/a").File(), "/a")
	equal(t, "zero", [...]any{Secret{}.Env(), Secret{}.File(), Secret{}.String(), Secret{}.IsZero()}, [...]any{[]string(nil), "", "", true})
	one, same, other := newSecret("a", ""), newSecret("a", ""), newSecret("", "a")
	if one != same || one == other {
		t.Error("secrets are not == by what they say")
	}
}

func TestSecrets(t *testing.T) {
	c, _ := full(t)
	var got []string
	for _, use := range c.Secrets() {
		got = append(got, fmt.Sprintf("%s:%d:%d %s %v %s", use.File, use.Line, use.Col, use.Path, use.Secret.Env(), use.Secret.File()))
	}
	equal(t, "secrets", got, []string{
		"shunt.yaml:6:14 admin_token [SHUNT_ADMIN_TOKEN] ",
		"shunt.yaml:17:14 providers.novita.api_key [NOVITA_API_KEY] ",
		"shunt.yaml:26:14 providers.together.api_key [] /etc/shunt/secrets/together",
		"shunt.yaml:33:14 providers.framerate.api_key [FRAMERATE_KEY] ",
		"shunt.yaml:126:16 billing.sinks[2].nats.token [BILLING_NATS_TOKEN] ",
		"shunt.yaml:133:65 billing.sinks[4].kafka.sasl.password [] /run/secrets/kafka",
		"shunt.yaml:139:34 billing.sinks[5].http.headers.authorization [OPENMETER_TOKEN] ",
		"shunt.yaml:156:44 identity.trusted_headers.secret.value [] /run/secrets/edge",
		"shunt.yaml:171:26 telemetry.otlp.headers.x-api-key [OTLP_KEY] ",
	})
	fs := c.CheckFiles(func(name string) (string, bool) { return "v", name != "NOVITA_API_KEY" }, files)
	equal(t, "faults", fs.Error(), `shunt.yaml:17:14: providers.novita.api_key: environment variable NOVITA_API_KEY is not set
shunt.yaml:26:14: providers.together.api_key: secret file /etc/shunt/secrets/together: file does not exist
shunt.yaml:133:65: billing.sinks[4].kafka.sasl.password: secret file /run/secrets/kafka: file does not exist
shunt.yaml:156:44: identity.trusted_headers.secret.value: secret file /run/secrets/edge: file does not exist`)
	every := func(string) (string, bool) { return "v", true }
	if fs := c.CheckFiles(every, func(string) ([]byte, error) { return []byte("v"), nil }); fs != nil {
		t.Errorf("got %v", fs)
	}
}

// holder keeps what fmt cannot ask for methods.
type holder struct {
	provider Provider
	secret   Secret
	any      any
}

// No way of printing a catalog, or a part of it, shows a literal (SEC-2).
func TestNothingShowsASecret(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		literal := rapid.StringMatching(`[A-Za-z0-9]{12,24}`).Draw(t, "literal")
		where := rapid.SampledFrom([]string{`"%s"`, `"%s${A}"`, `"${A}%s"`, `"%s ${A} %[1]s"`}).Draw(t, "where")
		quoted := fmt.Sprintf(where, literal)
		text := `
admin_token: ` + quoted + `
providers: {novita: {endpoint: "https://a.example", api_key: &k ` + quoted + `}, other: {endpoint: "https://b.example", api_key: *k}}
identity: {trusted_headers: {user: x-user, secret: {header: x-edge, value: ` + quoted + `}}}
models: {kimi: {offers: [{provider: novita, model: m}]}}
`
		c, err := Parse(Source{Name: "shunt.yaml", Data: []byte(text), Dir: "/"})
		if err != nil {
			t.Fatal(err)
		}
		p, _ := c.Provider("novita")
		if b, err := yaml.Marshal(p); err != nil || strings.Contains(string(b), literal) {
			t.Fatalf("YAML: %v, %s", err, b)
		}
		h := holder{*p, p.APIKey, p.APIKey}
		values := []any{
			c, *c, p, *p, p.APIKey, &p.APIKey, c.Identity, *c.Identity.Trusted, c.Models[0], *c.Models[0].Offers[0],
			c.Secrets(), c.Secrets()[0], h, &h, []any{h}, map[Secret]holder{p.APIKey: h},
		}
		for _, v := range values {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				if s := fmt.Sprintf(verb, v); strings.Contains(s, literal) || strings.Contains(s, fmt.Sprintf("%x", literal)) {
					t.Fatalf("%s of %T shows it: %s", verb, v, s)
				}
			}
			if b, err := json.Marshal(v); err != nil || strings.Contains(string(b), literal) {
				t.Fatalf("JSON of %T: %v, %s", v, err, b)
			}
			var b strings.Builder
			slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
			slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
			if strings.Contains(b.String(), literal) {
				t.Fatalf("slog of %T shows it: %s", v, b.String())
			}
		}
	})
}

// Whatever is wrong with a file that has a literal secret in it, the faults do
// not show it: one byte of the file is removed, replaced or inserted.
func TestNoFaultShowsASecret(t *testing.T) {
	const literal = "skL1teral0fAKey"
	text := `
admin_token: "` + literal + `"
providers:
  novita:
    endpoint: https://a.example
    api_key: ` + literal + `
    name: Novita
  other: {name: Other, api_key: ` + literal + `, endpoint: "https://b.example"}
  third: {endpoint: "https://c.example", api_key: &key "` + literal + `"}
  fourth: {endpoint: "https://c.example", api_key: *key}
identity: {trusted_headers: {user: x-user, secret: {header: x-edge, value: ` + literal + `}}}
models: {kimi: {offers: [{provider: novita, model: m}]}}
`
	const bytes = " \n:,{}[*!&\"#"
	check := func(mutated string) {
		got := outcome(mutated)
		for i := range len(literal) - 6 {
			if strings.Contains(got, literal[i:i+6]) {
				t.Fatalf("%s\nshows the secret of\n%s", got, mutated)
			}
		}
	}
	for i := range text {
		check(text[:i] + text[i+1:])
		for _, b := range bytes {
			check(text[:i] + string(b) + text[i:])
			check(text[:i] + string(b) + text[i+1:])
		}
	}
}
