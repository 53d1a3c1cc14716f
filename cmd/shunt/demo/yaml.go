package demo

import (
	"bytes"
	"cmp"
	"fmt"
	"text/template"
)

// Layout says where the demo's parts listen.
type Layout struct {
	Listen  string // Envoy's client-facing address. "": 127.0.0.1:10000
	Admin   string // "": 127.0.0.1:10001
	DataDir string // "": .shunt, beside the file
	// Endpoints are the providers' API bases by slug, base path included; every
	// provider of Defaults must be there.
	Endpoints map[string]string
}

// yamlMark is the first line of every file that the demo writes.
const yamlMark = "# Written by `shunt demo`."

// ShuntYAML is a shunt.yaml for the providers of Defaults: three models, one
// variant, one engine. Its keys are the fake providers' own and no secret.
func ShuntYAML(l Layout) ([]byte, error) {
	type provider struct {
		Config
		Endpoint string
	}
	var providers []provider
	for _, c := range Defaults() {
		endpoint, ok := l.Endpoints[c.Name]
		if !ok {
			return nil, fmt.Errorf("demo: writing shunt.yaml: provider %q has no endpoint", c.Name)
		}
		providers = append(providers, provider{c, endpoint})
	}
	var out bytes.Buffer
	err := shuntYAML.Execute(&out, map[string]any{
		"Mark": yamlMark, "Providers": providers, "Models": demoModels,
		"Listen":  cmp.Or(l.Listen, "127.0.0.1:10000"),
		"Admin":   cmp.Or(l.Admin, "127.0.0.1:10001"),
		"DataDir": cmp.Or(l.DataDir, ".shunt"),
	})
	return out.Bytes(), err
}

// behaviourOf finds an offer's latency and speed, which become its estimate.
func behaviourOf(provider string) (Behaviour, error) {
	for _, c := range Defaults() {
		if c.Name == provider {
			return c.Behaviour, nil
		}
	}
	return Behaviour{}, fmt.Errorf("demo: no provider %q", provider)
}

func jsonString(s string) string { return string(mustMarshal(s)) }

var shuntYAML = template.Must(template.New("shunt.yaml").
	Funcs(template.FuncMap{"behaviour": behaviourOf, "quote": jsonString}).
	Parse(`{{.Mark}} It may overwrite it.
listen: {{quote .Listen}}
admin: {{quote .Admin}}
data_dir: {{quote .DataDir}}
providers:
{{- range .Providers}}
  {{.Name}}:
    endpoint: {{quote .Endpoint}}
    api_key: {{.APIKey}}
    timeout: {connect: 1s, first_byte: 5s, idle: 20s}
{{- end}}
models:
{{- range .Models}}
  {{.ID}}:
    name: {{.Name}}
    aliases: [{{.Alias}}]
{{- if .Fixed}}
    provider_selection: false
{{- end}}
    price: {prompt: {{.Prompt}}, completion: {{.Completion}}}
{{- if .Default}}
    default_providers: [{{.Default}}]
{{- end}}
    offers:
{{- range .Offers}}
      - provider: {{.Provider}}
        model: {{.Upstream}}
        price: {prompt: {{.Prompt}}, completion: {{.Completion}}
{{- if .CacheRead}}, cache_read: {{.CacheRead}}, cache_write: {{.CacheWrite}}{{end}}}
{{- if .CacheRead}}
        caching: true
{{- end}}
{{- if .Tools}}
        tools: true
{{- end}}
        parameters: {{.Parameters}}
{{- if .APIs}}
        apis: {{.APIs}}
{{- end}}
{{- if .Engine}}
        engines: [{{.Engine}}]
{{- end}}
{{- with behaviour .Provider}}
        estimate: {ttft: {{.TTFT}}, throughput: {{.TokensPerSecond}}}
{{- end}}
{{- end}}
{{- end}}
engines:
  hyperframes: {default_provider: framerate}
variants:
  auto-provider: {model: gpt-oss-120b, provider: {sort: latency}, models: [moonshotai/kimi-k2.6]}
billing:
  sinks: [{file: events.jsonl}]
`))
