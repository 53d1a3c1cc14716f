package main

import (
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

const goodConfig = `
data_dir: data
providers:
  quick: {endpoint: "https://quick.example/v1", api_key: "${QUICK_KEY}", aliases: [q]}
  cheap: {endpoint: "https://cheap.example/v1", api_key: {file: cheap.key}}
  off: {endpoint: "http://127.0.0.1:9"}
models:
  org/m:
    aliases: [m]
    price: {prompt: 1, completion: 1}
    offers:
      - {provider: cheap, model: c, price: {prompt: 1, completion: 2}, estimate: {ttft: 900ms}}
      - {provider: quick, model: q, price: {prompt: 3, completion: 4}, estimate: {ttft: 100ms, throughput: 50}}
      - {provider: off, model: o, enabled: false}
`

// configured writes a configuration and the file of a key into a directory of the
// test's own.
func configured(t *testing.T, text string) (path string) {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "cheap.key"), "SECRET-cheap\n")
	path = filepath.Join(dir, "shunt.yaml")
	writeFile(t, path, text)
	t.Setenv("QUICK_KEY", "SECRET-quick")
	return path
}

// CMD-3: every fault with its place, exit code 1; no secret is shown.
func TestCheck(t *testing.T) {
	path := configured(t, goodConfig)
	if out, errOut, code := shunt(t, "", "check", "-c", path); code != 0 || !strings.Contains(out, "3 providers, 1 models, 3 offers") {
		t.Errorf("a good one: %d\n%s%s", code, out, errOut)
	}
	bad := strings.NewReplacer(
		"data_dir:", "datadir:", // an unknown key
		"cheap.key", "SECRET-gone.key", // a file that is not there
		"provider: quick", "provider: quik", // a reference to nothing
		"900ms", "900", // a wrong unit
		`"http://127.0.0.1:9"`, `"http://u:SECRET-pw@127.0.0.1:9"`,
	).Replace(goodConfig)
	out, errOut, code := shunt(t, "", "check", "-c", configured(t, bad))
	if code != exitInput || out != "" {
		t.Errorf("a bad one: %d\n%s", code, out)
	}
	for _, want := range []string{
		`shunt.yaml:2:1: datadir: unknown key (did you mean "data_dir"?)`,
		"shunt.yaml:6:19: providers.off.endpoint: must not contain a user name or a password",
		"shunt.yaml:12:89: models.org/m.offers[0].estimate.ttft: 900 has no unit: write 900s",
		`shunt.yaml:13:20: models.org/m.offers[1].provider: unknown provider "quik" (did you mean "quick"?)`,
	} {
		if !strings.Contains(errOut, want) {
			t.Errorf("no %q in\n%s", want, errOut)
		}
	}
	for _, secret := range []string{"SECRET-cheap", "SECRET-quick", "SECRET-pw"} {
		if strings.Contains(errOut, secret) {
			t.Errorf("SEC-2: %q in\n%s", secret, errOut)
		}
	}
}

// CMD-4: the decision, a reason for every offer, and the refusal of what is refused.
func TestExplain(t *testing.T) {
	path := configured(t, goodConfig)
	out, errOut, code := shunt(t, `{"model":"m:price"}`, "explain", "-c", path)
	for _, want := range []string{"org/m: suffix, sort price", "1  cheap", "2  quick", "off       org/m  disabled"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("%d, no %q in\n%s%s", code, want, out, errOut)
		}
	}
	request := filepath.Join(t.TempDir(), "request.json")
	writeFile(t, request, `{"model":"m"}`)
	out, _, code = shunt(t, "", "explain", "-c", path, "--json", "-H", "X-Provider: Q", request)
	var e struct {
		Kind     string
		Attempts []struct{ Provider string }
	}
	if err := json.Unmarshal([]byte(out), &e); err != nil || code != 0 || e.Kind != "explicit" || len(e.Attempts) != 1 || e.Attempts[0].Provider != "quick" {
		t.Errorf("--json: %d, %v\n%s", code, err, out)
	}
	for _, tc := range []struct{ body, path, want string }{
		{`{"model":"m","provider":{"only":["off"]}}`, "/v1/chat/completions", "400 provider_not_available"},
		{`{"model":"m"}`, "/v1/responses", "400 provider_not_available"},
		{`{"model":"m"}`, "/v1/embeddings", "404 not_found"},
		{`{"model":`, "/v1/chat/completions", "400 invalid_json"},
	} {
		if _, errOut, code := shunt(t, tc.body, "explain", "-c", path, "--path", tc.path); code != exitInput || !strings.Contains(errOut, tc.want) {
			t.Errorf("%s to %s: %d %s", tc.body, tc.path, code, errOut)
		}
	}
}

// CMD-4: a script reads refusals as JSON too, with the param; and the offers left out
// where the request could be read.
func TestExplainRefusalAsJSON(t *testing.T) {
	path := configured(t, goodConfig)
	for _, tc := range []struct {
		body, code, param string
		left              int
	}{
		{`{"model":"m","provider":{"ignore":["quick","cheap"]}}`, "provider_not_available", "provider.ignore", 3},
		{`{"model":"m","provider":{"max_price":{"prompt":-1}}}`, "invalid_provider_object", "provider.max_price.prompt", 0},
	} {
		out, _, code := shunt(t, tc.body, "explain", "-c", path, "--json")
		var e struct {
			Left    []struct{ Why string } `json:"left_out"`
			Refusal struct {
				Status               int
				Code, Param, Message string
			}
		}
		err := json.Unmarshal([]byte(out), &e)
		if r := e.Refusal; err != nil || code != exitInput || r.Status != 400 || r.Code != tc.code || r.Param != tc.param || r.Message == "" || len(e.Left) != tc.left {
			t.Errorf("%s: %d, %v\n%s", tc.body, code, err, out)
		}
	}
	if out, _, code := shunt(t, `{"model":"m"}`, "explain", "-c", path, "--json=false"); code != 0 || !strings.HasPrefix(out, "org/m: default") {
		t.Errorf("--json=false: %d\n%s", code, out)
	}
	if out, _, code := shunt(t, `{"model":"m"}`, "explain", "-c", path, "--json"); code != 0 || strings.Contains(out, "refusal") {
		t.Errorf("not refused: %d\n%s", code, out)
	}
}

// CMD-4, BILL-3: the headers of a trusted edge count as they do for a request, and
// shunt's own do not (SEC-1).
func TestExplainSubscriber(t *testing.T) {
	path := configured(t, goodConfig+`
identity: {trusted_headers: {user: x-user-id, plan: x-user-plan, secret: {header: x-edge-secret, value: "${EDGE_KEY}"}}}
`)
	t.Setenv("EDGE_KEY", "SECRET-edge")
	user := []string{"-H", "x-user-id: u", "-H", "X-User-Plan: subscription"}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{append(user, "-H", "x-edge-secret: SECRET-edge"), "sort latency, included in the subscription\n"},
		{append(user, "-H", "x-edge-secret: SECRET-edge", "-H", "X-Billing-Mode: paygo"), "charged at the model's price\n"},
		{append(user, "-H", "x-edge-secret: SECRET-edge", "-H", "X-Provider: q"), "charged at the provider's price and markup\n"},
		{append(user, "-H", "x-edge-secret: wrong"), "charged at the model's price\n"},
		{[]string{"-H", "x-shunt-user: u", "-H", "x-shunt-plan: subscription"}, "charged at the model's price\n"},
	} {
		out, errOut, code := shunt(t, `{"model":"m"}`, append([]string{"explain", "-c", path}, tc.args...)...)
		if code != 0 || !strings.Contains(out, tc.want) {
			t.Errorf("%q: %d, no %q in\n%s%s", tc.args, code, tc.want, out, errOut)
		}
	}
}

// CMD-5, SEC-2: references, unless the keys themselves are asked for.
func TestRenderSecrets(t *testing.T) {
	path := configured(t, goodConfig)
	out, errOut, code := shunt(t, "", "render", "envoy", "-c", path)
	if code != 0 || strings.Contains(out, "SECRET") || !strings.Contains(out, "QUICK_KEY") || !strings.Contains(out, "cheap.key") {
		t.Errorf("references: %d %s", code, errOut)
	}
	if out, _, code := shunt(t, "", "render", "envoy", "--with-secrets", "-c", path); code != 0 || !strings.Contains(out, "SECRET-quick") || !strings.Contains(out, "SECRET-cheap") {
		t.Errorf("--with-secrets: %d", code)
	}
	literal := configured(t, strings.Replace(goodConfig, "${QUICK_KEY}", "SECRET-literal", 1))
	if out, errOut, code := shunt(t, "", "render", "envoy", "-c", literal); code != exitInput || strings.Contains(out+errOut, "SECRET") {
		t.Errorf("a literal: %d %s", code, errOut)
	}
}

// CMD-7: whose mistake it is.
func TestExitCodes(t *testing.T) {
	path := configured(t, goodConfig)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	occupied := configured(t, strings.Replace(goodConfig, "data_dir: data", "data_dir: cheap.key", 1))
	for _, tc := range []struct {
		args string
		code int
		want string
	}{
		{"check -c nowhere.yaml", exitInput, "nowhere.yaml: no such file"},
		{"check -c " + filepath.Dir(path), exitInput, "is a directory"},
		{"explain -c " + path + " nowhere.json", exitInput, "nowhere.json"},
		{"chek", exitUsage, `unknown command "chek"`},
		{"check --nonsense", exitUsage, "--nonsense"},
		{"check more", exitUsage, "more"},
		{"explain -c " + path + " -H nonsense", exitUsage, `-H "nonsense"`},
		{"explain -c " + path + " --json=nonsense", exitUsage, "--json"},
		{"render", exitUsage, "envoy"},
		{"render istio -c " + path, exitUsage, `"istio"`},
		{"run -c " + path + " --listen nonsense", exitUsage, `--listen "nonsense"`},
		{"run -c " + path + " --admin 0.0.0.0:1", exitUsage, "admin_token"},
		{"run -c " + path + " --envoy /nowhere/envoy", exitEnvironment, "no usable Envoy"},
		{"serve -c " + path + " --admin " + taken.Addr().String(), exitEnvironment, "address already in use"},
		{"serve -c " + occupied + " --admin 127.0.0.1:0", exitEnvironment, "not a directory"},
	} {
		if out, errOut, code := shunt(t, "", strings.Fields(tc.args)...); code != tc.code || !strings.Contains(errOut, tc.want) {
			t.Errorf("%s: %d, want %d and %q\n%s%s", tc.args, code, tc.code, tc.want, out, errOut)
		}
	}
}
