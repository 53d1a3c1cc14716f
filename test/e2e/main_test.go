package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/envoy/runner"
	"github.com/shunt-gateway/shunt/test/harness"
)

func TestMain(m *testing.M) {
	runner.GuardMain()
	os.Exit(harness.Build(m))
}

// answer is what a client got.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

var client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}}

// post sends a body as it stands; headers are name, value, name, value.
func post(t testing.TB, url, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("content-type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return do(t, req)
}

func do(t testing.TB, req *http.Request) answer {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: read the answer: %v", req.Method, req.URL, err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// chain is a shunt in front of providers that serve one model, "m", in their order:
// the estimate of each is worse than that of the one before.
type chain struct {
	*harness.Shunt
	Providers []*harness.Provider
}

// upstream is what a chain's provider calls the model.
func upstream(slug string) string { return "up-" + slug }

// startChain starts providers p0, p1, … and shunt. extra is added to each
// provider's configuration by slug ("timeout: {…}"), and to the file under "".
func startChain(t testing.TB, configs []demo.Config, extra map[string]string) *chain {
	t.Helper()
	c := &chain{}
	var providers, offers strings.Builder
	for i, pc := range configs {
		pc.Name = fmt.Sprintf("p%d", i)
		pc.APIKey = "key-" + pc.Name
		if pc.BasePath == "" {
			pc.BasePath = "/" + pc.Name + "/v1"
		}
		p := harness.StartProvider(t, pc)
		c.Providers = append(c.Providers, p)
		fmt.Fprintf(&providers, "  %s:\n    endpoint: %s\n    api_key: %s\n%s", pc.Name, p.URL, pc.APIKey, indent(extra[pc.Name]))
		fmt.Fprintf(&offers, "      - {provider: %s, model: %s, price: {prompt: %d, completion: %d}, estimate: {ttft: %dms}, apis: [chat, completions, responses]}\n",
			pc.Name, upstream(pc.Name), i+1, 2*(i+1), i+1)
	}
	c.Shunt = harness.Run(t, "providers:\n"+providers.String()+
		"models:\n  m:\n    price: {prompt: 1, completion: 2}\n    offers:\n"+offers.String()+extra[""])
	return c
}

func indent(s string) string {
	if s == "" {
		return ""
	}
	return "    " + s + "\n"
}

// hello is a small chat request for a chain's model.
const hello = `{"model":"m","messages":[{"role":"user","content":"hello"}]}`

func (c *chain) chat(t testing.TB, body string, headers ...string) answer {
	t.Helper()
	return post(t, c.URL+"/v1/chat/completions", body, headers...)
}
