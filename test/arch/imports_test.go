package arch

import (
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/shunt-gateway/shunt"

// mayImport is the import table of docs/architecture.md: for each package, what it may
// import of this project outside its tests. An entry that ends in /... stands
// for a package and all below it; "*" for everything but cmd and test.
var mayImport = map[string][]string{
	"cmd/shunt":          {"*", "cmd/shunt/demo"},
	"cmd/shunt/demo":     {},
	"catalog":            {},
	"policy":             {"catalog"},
	"policy/conformance": {"catalog", "policy"},
	"policy/health":      {"catalog"},
	"policy/prefs":       {"catalog"},
	"policy/sticky":      {"catalog"},
	"extproc":            {"catalog", "policy/...", "extproc/...", "envoy/names"},
	"extproc/openai":     {},
	"extproc/billing":    {"catalog", "policy/..."},
	"extproc/admission":  {"extproc/billing"},
	"extproc/streams":    {},
	"extproc/outbox":     {"extproc/admission", "extproc/billing", "extproc/streams"},
	"extproc/state":      {"catalog", "policy/...", "extproc/streams"},
	"extproc/accesslog":  {"catalog", "policy/...", "extproc/billing", "envoy/names"},
	// openai: the one place that writes error bodies (API-6).
	"extproc/api":           {"catalog", "policy/...", "extproc/openai"},
	"extproc/identity":      {"catalog", "envoy/names"},
	"extproc/telemetry":     {"catalog", "policy/...", "extproc", "extproc/billing"},
	"extproc/billing/sinks": {"catalog", "extproc/billing"},
	// a second implementation, which may share nothing with the first
	"extproc/billing/audit": {},
	"envoy":                 {"catalog", "envoy/names"},
	"envoy/names":           {},
	"envoy/runner":          {},
	"test/...":              {"*", "cmd/...", "test/..."},
}

// pure packages compute: the world comes to them as values.
var pure = []string{"catalog", "policy", "policy/health", "policy/prefs", "policy/sticky"}

// worldly are the imports that a pure package may not have itself …
var worldly = []string{"net", "os", "syscall", "io/ioutil", "log", "math/rand", "plugin"}

// … but for these: strings, and how a value that must not be logged says so.
var notWorldly = []string{"net/netip", "net/url", "log/slog"}

// heavy are what a pure package may not even depend on at a distance.
var heavy = []string{"net/http", "google.golang.org/grpc", "github.com/envoyproxy", "google.golang.org/protobuf"}

func TestImportTable(t *testing.T) {
	for _, p := range packages(t) {
		name := inProject(p.ImportPath)
		allowed, ok := tableEntry(name)
		if !ok {
			t.Errorf("package %s has no entry in mayImport (test/arch/imports_test.go): say what it may import", name)
			continue
		}
		for _, imported := range p.Imports {
			if in := inProject(imported); in != imported && !allows(allowed, in) {
				t.Errorf("%s imports %s; it may import %v", name, in, allowed)
			}
		}
	}
}

func TestPurePackagesDoNoIO(t *testing.T) {
	for _, p := range packages(t) {
		name := inProject(p.ImportPath)
		if !slices.Contains(pure, name) {
			continue
		}
		for _, i := range p.Imports {
			if under(i, worldly) && !slices.Contains(notWorldly, i) {
				t.Errorf("%s imports %s: time, randomness and the world are its arguments", name, i)
			}
		}
		for _, d := range p.Deps {
			if under(d, heavy) {
				t.Errorf("%s depends on %s, by way of something that it imports", name, d)
			}
		}
	}
}

// TestPackagePlaces: the top level is fixed, the depth is at most 3, and a
// package is named for what it does.
func TestPackagePlaces(t *testing.T) {
	tops := []string{"catalog", "cmd", "envoy", "extproc", "policy", "test"}
	nothings := []string{"internal", "pkg", "util", "utils", "common", "helper", "helpers", "misc", "lib"}
	for _, p := range packages(t) {
		parts := strings.Split(inProject(p.ImportPath), "/")
		if !slices.Contains(tops, parts[0]) || len(parts) > 3 {
			t.Errorf("package %s: want it below one of %v, at most 3 deep", p.ImportPath, tops)
		}
		for _, part := range parts {
			if slices.Contains(nothings, part) {
				t.Errorf("package %s: %q says nothing of what is in it", p.ImportPath, part)
			}
		}
		if base := path.Base(p.ImportPath); p.Name != base && p.Name != "main" {
			t.Errorf("package %s calls itself %s", p.ImportPath, p.Name)
		}
	}
}

func TestTableEntries(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"policy", "catalog", true},
		{"policy", "envoy", false},
		{"catalog", "policy", false},
		{"extproc", "extproc/billing", true},
		{"extproc", "envoy", false},
		{"extproc", "policy/health", true},
		{"envoy", "extproc", false},
		{"cmd/shunt", "envoy/runner", true},
		{"cmd/shunt", "test/harness", false},
		{"envoy", "cmd/shunt", false},
		{"test/e2e", "cmd/shunt/demo", true},
		{"test/e2e", "test/harness", true},
	} {
		allowed, ok := tableEntry(c.from)
		if !ok || allows(allowed, c.to) != c.want {
			t.Errorf("%s importing %s: allowed is %v, want %v", c.from, c.to, !c.want, c.want)
		}
	}
}

// inProject takes the module's path off, if it is there.
func inProject(importPath string) string { return strings.TrimPrefix(importPath, module+"/") }

func tableEntry(name string) ([]string, bool) {
	if e, ok := mayImport[name]; ok {
		return e, true
	}
	if strings.HasPrefix(name, "test/") {
		return mayImport["test/..."], true
	}
	return nil, false
}

func allows(allowed []string, name string) bool {
	for _, a := range allowed {
		base, tree := strings.CutSuffix(a, "/...")
		if name == base || tree && strings.HasPrefix(name, base+"/") || a == "*" && !under(name, []string{"cmd", "test"}) {
			return true
		}
	}
	return false
}

// under reports whether p is one of the roots or below one.
func under(p string, roots []string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return p == r || strings.HasPrefix(p, r+"/") })
}
