package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// world is a random catalog with random health.
type world struct {
	yaml   string
	offers map[string][]string // slugs by model id
	cat    *catalog.Catalog
	health []policy.OfferHealth
}

var (
	slugs    = []string{"alpha", "beta", "gamma", "delta", "eps"}
	modelIDs = []string{"org/one", "org/one:think", "alpha/two", "three", "gone"}
	variants = []string{"fancy", "three:v"}
	params   = []string{"tools", "seed", "stop"}
	// few values, so that there are ties
	ttfts       = []string{"", "100ms", "200ms", "300ms"}
	throughputs = []string{"", "10", "50", "100"}
	prices      = []string{"0", "0.1", "0.10", "0.2", "0.25", "1"}
)

// bits draws n bits, each fair: rapid's ranges prefer small numbers, which would
// make nearly every request an error.
func bits(t *rapid.T, label string, n int) (x int) {
	for range n {
		x <<= 1
		if rapid.Bool().Draw(t, label) {
			x |= 1
		}
	}
	return x
}

// chance shrinks to false.
func chance(t *rapid.T, label string, percent int) bool {
	return bits(t, label, 7) >= 128-percent*128/100
}

// number draws from 0 to most.
func number(t *rapid.T, label string, most int) int { return bits(t, label, 6) % (most + 1) }

func pick[T any](t *rapid.T, label string, from []T) T { return from[number(t, label, len(from)-1)] }

// some draws distinct elements in random order.
func some[T comparable](t *rapid.T, label string, from []T, most int) []T {
	rest := slices.Clone(from)
	list := []T{}
	for range number(t, label+" n", min(most, len(from))) {
		i := number(t, label, len(rest)-1)
		list = append(list, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	return list
}

func drawWorld(t *rapid.T) *world {
	var b strings.Builder
	w := &world{offers: map[string][]string{}}
	b.WriteString("providers:\n")
	n := 2 + number(t, "providers", len(slugs)-2)
	for _, s := range slugs[:n] {
		fmt.Fprintf(&b, "  %s: {name: %s Inc, aliases: [%s-ai], endpoint: \"http://127.0.0.1:1\"}\n", s, strings.ToUpper(s), s)
	}
	engines := chance(t, "engines", 30)
	b.WriteString("models:\n")
	models := modelIDs[:1+number(t, "models", len(modelIDs)-1)]
	for _, id := range models {
		w.offers[id] = drawModel(t, &b, id, slugs[:n], engines)
	}
	if engines {
		fmt.Fprintf(&b, "engines: {lottie: {default_provider: %s}}\n", pick(t, "engine default", slugs[:n]))
	}
	if chance(t, "variants", 50) {
		b.WriteString("variants:\n")
		for _, v := range variants {
			drawVariant(t, &b, w, v, models)
		}
	}
	fmt.Fprintf(&b, "routing: {sort: %s, max_attempts: %d", pick(t, "routing sort", sortWords[:4]), 1+number(t, "max_attempts", 6))
	if chance(t, "dialects", 20) {
		b.WriteString(", dialects: {/v1/chat/completions: exact, /v1/responses: prefer}")
	}
	b.WriteString("}\n")
	w.yaml = b.String()
	c, err := catalog.Parse(catalog.Source{Name: "world.yaml", Data: []byte(w.yaml), Dir: "/nowhere"})
	if err != nil {
		t.Fatalf("%v\n%s", err, w.yaml)
	}
	w.cat = c
	drawHealth(t, w)
	return w
}

func drawModel(t *rapid.T, b *strings.Builder, id string, slugs []string, engines bool) (offered []string) {
	fmt.Fprintf(b, "  \"%s\":\n    provider_selection: %v\n", id, !chance(t, "unsupported", 10))
	fmt.Fprintf(b, "    aliases: [\"%s-alias\"]\n    offers:\n", strings.ReplaceAll(id, ":", "-"))
	offered = some(t, "offered", slugs, len(slugs))
	if len(offered) == 0 {
		offered = slugs[:1]
	}
	for _, s := range offered {
		apis := 1 + number(t, "apis", 1)
		fmt.Fprintf(b, "      - {provider: %s, model: up, enabled: %v, caching: %v, tools: %v, apis: [%s]", s,
			!chance(t, "disabled", 15), chance(t, "caching", 60), chance(t, "tools", 60),
			strings.Join([]string{"chat", "responses"}[:apis], ", "))
		if chance(t, "priced", 80) {
			fmt.Fprintf(b, ", price: {prompt: %s, completion: %s", pick(t, "prompt", prices), pick(t, "completion", prices))
			if chance(t, "cache read", 50) {
				fmt.Fprintf(b, ", cache_read: %s", pick(t, "read", prices))
			}
			if chance(t, "cache write", 50) {
				fmt.Fprintf(b, ", cache_write: %s", pick(t, "write", prices))
			}
			b.WriteString("}")
		}
		if ttft, tput := pick(t, "ttft", ttfts), pick(t, "throughput", throughputs); ttft != "" || tput != "" {
			var parts []string
			if ttft != "" {
				parts = append(parts, "ttft: "+ttft)
			}
			if tput != "" {
				parts = append(parts, "throughput: "+tput)
			}
			fmt.Fprintf(b, ", estimate: {%s}", strings.Join(parts, ", "))
		}
		fmt.Fprintf(b, ", parameters: [%s]", strings.Join(some(t, "parameters", params, 3), ", "))
		if engines && apis == 2 && chance(t, "engine", 60) {
			b.WriteString(", engines: [lottie]")
		}
		b.WriteString("}\n")
	}
	if chance(t, "default providers", 30) {
		if defaults := some(t, "defaults", offered, 2); len(defaults) > 0 {
			fmt.Fprintf(b, "    default_providers: [%s]\n", strings.Join(defaults, ", "))
		}
	}
	return offered
}

func drawVariant(t *rapid.T, b *strings.Builder, w *world, name string, models []string) {
	model := pick(t, "variant model", models)
	var parts, others []string
	for _, m := range some(t, "variant models", models, 2) {
		if m != model {
			others = append(others, `"`+m+`"`)
		}
	}
	names := some(t, "variant providers", w.offers[model], 3)
	if len(names) > 1 && chance(t, "variant ignore", 30) {
		parts = append(parts, "ignore: ["+names[0]+"]")
		names = names[1:]
	}
	if len(names) > 0 && chance(t, "variant order", 40) {
		parts = append(parts, "order: ["+strings.Join(names, ", ")+"]")
	}
	if chance(t, "variant sort", 30) {
		parts = append(parts, "sort: "+pick(t, "sort", sortWords))
	}
	if chance(t, "variant fallbacks", 20) {
		parts = append(parts, "allow_fallbacks: false")
	}
	fmt.Fprintf(b, "  \"%s\": {model: \"%s\", models: [%s], provider: {%s}}\n", name, model, strings.Join(others, ", "), strings.Join(parts, ", "))
}

func drawHealth(t *rapid.T, w *world) {
	w.health = make([]policy.OfferHealth, rapid.IntRange(0, len(w.cat.Offers())).Draw(t, "health"))
	for i := range w.health {
		h := &w.health[i]
		h.TTFT = time.Duration(number(t, "measured ttft", 3)) * 100 * time.Millisecond
		h.Throughput = pick(t, "measured throughput", []float64{0, 10, 20, 100})
		if chance(t, "cooling", 25) {
			h.CoolingTill = noon.Add(time.Duration(number(t, "till", 2)-1) * time.Second)
		}
		h.Stale = chance(t, "stale", 40)
		if chance(t, "probing", 15) {
			h.ProbingTill = noon.Add(time.Duration(number(t, "probing till", 2)-1) * time.Second)
			h.Probe = pick(t, "probe", []float32{0, 0.1, 0.5, 1})
		}
		if chance(t, "percentiles", 50) {
			for k := range h.TTFTs {
				h.TTFTs[k] = time.Duration(k+number(t, "percentile", 2)) * 100 * time.Millisecond
				h.Throughputs[k] = 40 - 10*float64(k)
			}
		}
	}
}
