package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// large is a configuration of models × providers offers, as an exporter would
// write it.
func large(models, providers int) []byte {
	var b strings.Builder
	b.WriteString("providers:\n")
	for j := range providers {
		fmt.Fprintf(&b, "  p%d:\n    name: Provider %d\n    endpoint: https://p%d.example/v1\n    api_key: ${KEY_%d}\n", j, j, j, j)
	}
	b.WriteString("models:\n")
	for i := range models {
		fmt.Fprintf(&b, "  org/model-%d:\n    name: Model %d\n    aliases: [model-%d]\n    price: {prompt: 0.5, completion: 2.6}\n    offers:\n", i, i, i)
		for j := range providers {
			fmt.Fprintf(&b, "      - provider: p%d\n        model: up/m-%d\n        price: {prompt: 0.%d, completion: %d.5, cache_read: 0.15}\n", j, i, i%97+1, j)
			b.WriteString("        caching: true\n        tools: true\n        parameters: [tools, response_format, seed]\n")
			b.WriteString("        estimate: {ttft: 300ms, throughput: 80}\n")
		}
	}
	return []byte(b.String())
}

// BenchmarkLoad50k is 1,000 models × 50 providers:
//
//	go test ./catalog -run - -bench Load -benchmem
func BenchmarkLoad50k(b *testing.B) { benchmarkLoad(b, 1000, 50) }

func BenchmarkLoad5k(b *testing.B) { benchmarkLoad(b, 100, 50) }

func benchmarkLoad(b *testing.B, models, providers int) {
	data := large(models, providers)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		c, err := Parse(Source{Name: "shunt.yaml", Data: data, Dir: "/"})
		if err != nil || len(c.Offers()) != models*providers {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode50k is what Parse does behind the YAML parser.
func BenchmarkDecode50k(b *testing.B) {
	data := large(1000, 50)
	root := load(data, &faultList{})
	b.ReportAllocs()
	for b.Loop() {
		d := newDecoder(Source{Data: data, Dir: "/"}, &faultList{})
		d.file(root)
		d.finish(root)
	}
}

// A catalog keeps no part of the file or its tree.
func TestRetainedMemory(t *testing.T) {
	data := large(100, 50)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c, err := Parse(Source{Name: "shunt.yaml", Data: data, Dir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	perOffer := int64(after.HeapAlloc-before.HeapAlloc) / int64(len(c.Offers()))
	if t.Log(perOffer, "bytes an offer"); perOffer > 1000 {
		t.Errorf("%d bytes an offer: the limit is 1000", perOffer)
	}
	runtime.KeepAlive(data)
	runtime.KeepAlive(c)
}

// FuzzParse: any bytes give a catalog or faults with positions inside the file.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/faults/*.txt")
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range strings.Split(string(data), "\n==== ")[1:] {
			_, body, _ := strings.Cut(part, "\n")
			input, _, _ := strings.Cut(body, "\n----")
			f.Add([]byte(complete(input + "\n")))
		}
	}
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		c, err := Parse(Source{Name: "shunt.yaml", Data: data, Dir: "/etc/shunt"})
		if err != nil {
			checkFaults(t, data, err.(Faults))
			return
		}
		checkCatalog(t, c)
	})
}

func checkFaults(t *testing.T, data []byte, fs Faults) {
	lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + strings.Count(string(data), "\u0085") +
		strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029") + 2
	for i, f := range fs {
		if f.Message == "" || f.Line < 1 || f.Line > lines || f.Col < 1 || strings.ContainsAny(f.String(), "\n\r") {
			t.Fatalf("fault %d: %q", i, f)
		}
		if i > 0 && f.Line < fs[i-1].Line {
			t.Fatalf("fault %d is out of order", i)
		}
	}
	if len(fs) == 0 || len(fs) > maxFaults+1 {
		t.Fatalf("%d faults", len(fs))
	}
}

func checkCatalog(t *testing.T, c *Catalog) {
	if len(c.Providers) == 0 || len(c.Models) == 0 || len(c.Hash) != 64 || c.Limits.Body < 1 {
		t.Fatalf("an incomplete catalog: %+v", c)
	}
	for i, o := range c.Offers() {
		if o.Index != i || o.Provider == nil || o.Upstream == "" || o.APIs == 0 || o.Model.OfferOf(o.Provider) != o {
			t.Fatalf("offer %d: %+v", i, o)
		}
	}
	for _, p := range c.Providers {
		if got, _ := c.Provider(p.Slug); got != p || p.Endpoint.Port == 0 || p.Timeout.Idle <= 0 || slugProblem(p.Slug) != "" {
			t.Fatalf("provider %+v", p)
		}
	}
	for _, m := range c.Models {
		if got, _ := c.Model(m.ID); got != m || len(m.Offers) == 0 {
			t.Fatalf("model %+v", m)
		}
	}
}
