package demo

import (
	"net/http"
	"time"
)

// The ids of the demo's models.
const (
	modelKimi = "moonshotai/kimi-k2.6"
	modelGPT  = "gpt-oss-120b"
	modelQwen = "qwen/qwen3-coder"
)

// Defaults returns the demo's providers. Each is best at one thing: novita is
// fair at all, swift begins first, framerate writes fastest, thrift is cheapest
// and slow, flaky is cheap and fails every third request with 429 or 503.
// ShuntYAML offers them with prices and estimates to match.
func Defaults() []Config {
	fail := Failure{Status: http.StatusTooManyRequests, Headers: map[string]string{"retry-after": "5"}}
	overloaded := Failure{Status: http.StatusServiceUnavailable}
	at := func(ttft time.Duration, speed float64) Behaviour {
		return Behaviour{TTFT: Duration(ttft), TokensPerSecond: speed, Tokens: 60}
	}
	flaky := at(250*time.Millisecond, 90)
	flaky.FailureRate = 1.0 / 3
	limited, down := flaky, flaky
	limited.Fail, down.Fail = &fail, &overloaded
	reasoning := at(300*time.Millisecond, 80)
	reasoning.Reasoning = 20
	configs := []Config{
		{Name: "novita", BasePath: "/v3/openai", Behaviour: reasoning},
		{Name: "swift", BasePath: "/v1", Behaviour: at(80*time.Millisecond, 60)},
		{Name: "framerate", BasePath: "/openai/v1", Behaviour: at(600*time.Millisecond, 400)},
		{Name: "thrift", BasePath: "/api/v1", Behaviour: at(900*time.Millisecond, 25)},
		{Name: "flaky", BasePath: "/v1", Behaviour: down, Rules: map[string]Behaviour{"Kimi-K2.6": limited}},
	}
	for i := range configs {
		c := &configs[i]
		c.APIKey = "demo-key-" + c.Name
		c.Seed = uint64(i)
		for _, m := range demoModels {
			for _, o := range m.Offers {
				if o.Provider == c.Name {
					c.Models = append(c.Models, o.Upstream)
				}
			}
		}
	}
	return configs
}

// demoModel is a model as ShuntYAML writes it; prices are USD per 1M tokens.
type demoModel struct {
	ID, Name, Alias    string
	Fixed              bool // clients may not select a provider
	Prompt, Completion string
	Default            string // default_providers: one slug; "": by routing.sort
	Offers             []demoOffer
}

type demoOffer struct {
	Provider, Upstream    string
	Prompt, Completion    string
	CacheRead, CacheWrite string // "": not cache-capable
	Parameters            string
	APIs                  string // "": the default
	Engine                string
}

// The offers' parameters: everything, or what does without tools.
const (
	everything = "[tools, tool_choice, response_format, seed, stop]"
	plain      = "[seed, stop]"
)

// Tools reports whether the offer is marked so.
func (o demoOffer) Tools() bool { return o.Parameters == everything }

var demoModels = []demoModel{
	{
		ID: modelKimi, Name: "Kimi K2.6", Alias: "kimi-k2.6", Prompt: "0.5", Completion: "2.6",
		Offers: []demoOffer{
			{
				Provider: "novita", Upstream: "moonshotai/Kimi-K2.6", Prompt: "0.6", Completion: "2.5",
				CacheRead: "0.15", CacheWrite: "0.6", Parameters: everything, APIs: "[chat, completions, responses]",
			},
			{Provider: "swift", Upstream: "kimi-k2.6-turbo", Prompt: "1.2", Completion: "4", Parameters: everything},
			{
				Provider: "framerate", Upstream: "kimi-k2.6", Prompt: "0.9", Completion: "3.2",
				Parameters: everything, APIs: "[chat, completions, responses]", Engine: "hyperframes",
			},
			{
				Provider: "thrift", Upstream: "moonshotai/kimi-k2.6-fp4", Prompt: "0.35", Completion: "1.6",
				CacheRead: "0.05", CacheWrite: "0.35", Parameters: plain,
			},
			{Provider: "flaky", Upstream: "Kimi-K2.6", Prompt: "0.4", Completion: "1.8", Parameters: plain},
		},
	},
	{
		ID: modelGPT, Name: "GPT OSS 120B", Alias: "openai/gpt-oss-120b", Prompt: "0.1", Completion: "0.5", Default: "swift",
		Offers: []demoOffer{
			{Provider: "swift", Upstream: "gpt-oss-120b", Prompt: "0.15", Completion: "0.6", Parameters: everything},
			{
				Provider: "framerate", Upstream: "openai/gpt-oss-120b", Prompt: "0.12", Completion: "0.55",
				Parameters: everything, APIs: "[chat, completions, responses]", Engine: "hyperframes",
			},
			{Provider: "thrift", Upstream: "gpt-oss-120b-fp4", Prompt: "0.04", Completion: "0.2", Parameters: plain},
			{Provider: "flaky", Upstream: "gpt-oss-120b", Prompt: "0.05", Completion: "0.25", Parameters: plain},
		},
	},
	{
		ID: modelQwen, Name: "Qwen3 Coder", Alias: "qwen3-coder", Fixed: true, Prompt: "0.3", Completion: "1.2",
		Offers: []demoOffer{
			{Provider: "novita", Upstream: "qwen/Qwen3-Coder", Prompt: "0.29", Completion: "1.2", Parameters: everything},
		},
	},
}
