package envoy

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/runner"
)

var rewrite = flag.Bool("rewrite", false, "write what the tests see into testdata")

func parse(t *testing.T, file string) *catalog.Catalog {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Parse(catalog.Source{Name: file, Data: data, Dir: "/etc/shunt"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var testOptions = Options{Socket: "/run/shunt/shunt.sock", APISocket: "/run/shunt/api.sock", CAFile: "/etc/ssl/certs/ca-certificates.crt", Journal: "/run/shunt/ends.jsonl"}

// The whole configuration of a small catalog, as a person would read it in a
// review: a change of any default shows here.
func TestStaticGolden(t *testing.T) {
	got, err := Static(parse(t, "testdata/small.yaml"), testOptions, ReferencedSecrets())
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/small.golden.yaml"
	if *rewrite {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the configuration differs from %s; see what changed with\n  go test ./envoy -run Golden -rewrite && git diff %s", golden, golden)
	}
}

// What is rendered is accepted by a real Envoy.
func TestStaticValidates(t *testing.T) {
	t.Setenv("NOVITA_API_KEY", "a-key-for-validation")
	bin, err := runner.Search{}.Find(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ca, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")
	cert, private := selfSigned(t)
	if err := errors.Join(os.WriteFile(ca, cert, 0o600), os.WriteFile(key, private, 0o600)); err != nil {
		t.Fatal(err)
	}
	o := testOptions
	o.CAFile = ca
	o.Journal = filepath.Join(t.TempDir(), "ends.jsonl")
	for _, file := range []string{"testdata/small.yaml", "../catalog/testdata/full.yaml"} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c := parse(t, file)
			if c.Telemetry.OTLP != nil {
				c.Telemetry.OTLP.TLS = catalog.ClientTLS{CA: ca, Cert: ca, Key: key}
			}
			text, err := Static(c, o, InlineSecrets(func(catalog.Secret) (string, error) { return "key", nil }))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "envoy.yaml")
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(bin.Path, "--mode", "validate", "--disable-hot-restart", "-c", path).CombinedOutput()
			if err != nil {
				t.Errorf("envoy refuses it: %v\n%s", err, out)
			}
		})
	}
}

// SEC-2: no key is in a rendered file unless it was asked for.
func TestRenderedSecrets(t *testing.T) {
	c := parse(t, "testdata/small.yaml")
	resolve := func(s catalog.Secret) (string, error) {
		return s.Resolve(func(string) (string, bool) { return "sk-very-secret", true }, os.ReadFile)
	}
	without, err := Static(c, testOptions, ReferencedSecrets())
	if err != nil {
		t.Fatal(err)
	}
	with, err := Static(c, testOptions, InlineSecrets(resolve))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(without, []byte("sk-very-secret")) || !bytes.Contains(without, []byte("environment_variable: NOVITA_API_KEY")) {
		t.Errorf("a reference was expected:\n%s", without)
	}
	if !bytes.Contains(with, []byte("sk-very-secret")) {
		t.Error("--with-secrets wrote no secret")
	}
	boot, err := Bootstrap(testOptions)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(boot), "NOVITA") {
		t.Errorf("the bootstrap knows of a provider's key:\n%s", boot)
	}
}
