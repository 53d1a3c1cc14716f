package catalog

import (
	"strings"
	"testing"
)

// Escapes of JSON that YAML parsers do not know are read, and what follows them in the
// line keeps its position.
func TestJSONEscapes(t *testing.T) {
	const text = `{"providers": {"p": {"name": "\ud83d\ude00 \\\/ \"\u00e9", "endpoint": "https:\/\/p.example\/v1"}},
 "models": {"a\/b": {"offers": [{"provider": "p", "model": "up\\\\/\ud83d\ude00\/"}]}}}`
	c := parse(t, text)
	equal(t, "provider", [...]any{c.Providers[0].Name, c.Providers[0].Endpoint.Path}, [...]any{"😀 \\/ \"é", "/v1"})
	equal(t, "model", [...]any{c.Models[0].ID, c.Models[0].Offers[0].Upstream}, [...]any{"a/b", `up\\/😀/`})

	for bad, at := range map[string]string{
		"endpiont": ":1:60: providers.p.endpiont: unknown key", "ofers": ":2:22: models.a/b.ofers: unknown key",
	} {
		good := map[string]string{"endpiont": "endpoint", "ofers": "offers"}[bad]
		_, err := Parse(Source{Name: "f", Data: []byte(strings.Replace(text, good, bad, 1)), Dir: "/"})
		if err == nil || !strings.Contains(err.Error(), at) {
			t.Errorf("with %s: %v, want %s", bad, err, at)
		}
	}
	if _, err := Parse(Source{Name: "f", Data: []byte(strings.Replace(text, `\ude00`, "", 1)), Dir: "/"}); err == nil || !strings.Contains(err.Error(), "not valid YAML") {
		t.Errorf("half a pair: %v", err)
	}
}
