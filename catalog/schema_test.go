package catalog

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// schema is every mapping of the format and its keys. <x> stands for a name of the
// operator's, [] for a list's element.
var schema = map[string]*keys{
	"": fileKeys, "limits": limitsKeys, "state": stateKeys,
	"telemetry": telemetryKeys, "telemetry.otlp": otlpKeys, "telemetry.otlp.tls": tlsKeys,
	"state.tls": tlsKeys, "state.cache": stateCacheKeys,
	"providers.<slug>": providerKeys, "providers.<slug>.timeout": timeoutKeys,
	"providers.<slug>.api_key": secretFileKeys,
	"engines.<name>":           engineKeys,
	"models.<id>":              modelKeys, "models.<id>.price": {names: []string{"prompt", "completion"}},
	"models.<id>.offers[]": offerKeys, "models.<id>.offers[].price": priceKeys,
	"models.<id>.offers[].price.tiers[]": tierKeys,
	"models.<id>.offers[].estimate":      estimateKeys, "models.<id>.offers[].distillation": distillationKeys,
	"variants.<name>": variantKeys, "variants.<name>.provider": variantProviderKeys,
	"routing": routingKeys, "routing.health": healthKeys, "routing.retry_budget": retryBudgetKeys, "billing": billingKeys, "billing.outbox": outboxKeys, "billing.journal": journalKeys, "billing.sinks[]": sinkKeys,
	"billing.sinks[].file": fileSinkKeys, "billing.sinks[].file.rotate": rotateKeys,
	"billing.sinks[].nats": natsSinkKeys, "billing.sinks[].nats.tls": tlsKeys,
	"billing.sinks[].kafka": kafkaKeys, "billing.sinks[].kafka.tls": tlsKeys, "billing.sinks[].kafka.sasl": saslKeys,
	"billing.sinks[].http": httpSinkKeys, "billing.sinks[].http.tls": tlsKeys,

	"identity": identityKeys, "identity.api_key": apiKeyKeys,
	"identity.jwt": jwtKeys, "identity.jwt.jwks": jwksKeys, "identity.jwt.claims": claimKeys,
	"identity.trusted_headers": trustedKeys, "identity.trusted_headers.secret": edgeKeys,
	"passthrough[]": passthroughKeys,
}

var named = map[string]string{
	"providers": "<slug>", "models": "<id>", "variants": "<name>", "engines": "<name>", "routing.dialects": "<path>",
	"billing.sinks[].http.headers": "<name>", "telemetry.otlp.headers": "<name>",
}

// paths collects the paths of all keys below a node.
func paths(n *yaml.Node, at string, into map[string]bool) {
	switch n.Kind {
	case yaml.AliasNode:
		paths(n.Alias, at, into)
	case yaml.SequenceNode:
		for _, c := range n.Content {
			paths(c, at+"[]", into)
		}
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if name, ok := named[at]; ok {
				key = name
			}
			path := strings.TrimPrefix(at+"."+key, ".")
			into[path] = true
			paths(n.Content[i+1], path, into)
		}
	}
}

func keyPaths() []string {
	var list []string
	for at, ks := range schema {
		for _, name := range ks.names {
			list = append(list, strings.TrimPrefix(at+"."+name, "."))
		}
	}
	return list
}

// The full example uses every key, so that whoever adds one shows it there.
func TestFullUsesEveryKey(t *testing.T) {
	_, data := full(t)
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	paths(root.Content[0], "", used)
	for _, path := range keyPaths() {
		if !used[path] && path != "identity.jwt.jwks.file" { // excludes uri
			t.Errorf("%s is not in testdata/full.yaml", path)
		}
	}
}

// docs/configuration.md names every key by its path.
func TestDocsNameEveryKey(t *testing.T) {
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range keyPaths() {
		if !strings.Contains(string(data), "`"+path+"`") {
			t.Errorf("%s is not in docs/configuration.md", path)
		}
	}
}
