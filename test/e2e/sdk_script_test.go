package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/test/harness"
)

// What `make test` installs, unless the environment names another place; from this
// directory.
const (
	defaultPython  = "../../.cache/venv/bin/python"
	defaultNodeDir = "../../.cache/node"
)

// pythonSDK runs a script with the Python that has the openai package.
func pythonSDK(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(cmp.Or(os.Getenv("SHUNT_E2E_PYTHON"), defaultPython))
	mustHaveSDK(t, err, "SHUNT_E2E_PYTHON", "Python with the openai package")
	return sdkCommand(t, path, append([]string{"-B"}, args...)...)
}

// nodeSDK runs a script with the directory that has the openai package.
func nodeSDK(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := filepath.Abs(cmp.Or(os.Getenv("SHUNT_E2E_NODE_DIR"), defaultNodeDir))
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "node_modules", "openai"))
	}
	mustHaveSDK(t, err, "SHUNT_E2E_NODE_DIR", "directory with node_modules/openai")
	path, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("the Node client's tests need node: %v", err)
	}
	cmd := sdkCommand(t, path, args...)
	cmd.Env = append(cmd.Env, "SHUNT_E2E_NODE_DIR="+dir)
	return cmd
}

// mustHaveSDK fails the test: a client that is not there must not look like one that
// agrees.
func mustHaveSDK(t *testing.T, err error, variable, what string) {
	t.Helper()
	if err != nil {
		t.Fatalf("no %s: %v\n`make test` installs it and runs this; or set %s", what, err, variable)
	}
}

// sdkCommand has nothing of the environment that an SDK would heed.
func sdkCommand(t *testing.T, path string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(v), "=")
		return strings.HasPrefix(name, "OPENAI_") || strings.HasSuffix(name, "_PROXY")
	})
	return cmd
}

// runScript runs a script of checks. It prints a line for each: `ok NAME`,
// `fail NAME: why`, or `billed {…}`, what must be billed for the check that ends
// next.
func runScript(t *testing.T, s *harness.Shunt, cmd *exec.Cmd) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Errorf("%s: %v\n%s", cmd, err, errs.String())
	}
	ran := map[string]bool{}
	var wants []billed
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		verdict, rest, _ := strings.Cut(lines.Text(), " ")
		if verdict == "billed" {
			want, err := decodeBilled(rest)
			if err != nil {
				t.Error(err)
			}
			wants = append(wants, want)
			continue
		}
		name, why, _ := strings.Cut(rest, ": ")
		if verdict != "ok" && verdict != "fail" || ran[name] {
			t.Errorf("%s: not a line of a check: %q", cmd, lines.Text())
			continue
		}
		ran[name] = true
		t.Run(name, func(t *testing.T) {
			if verdict == "fail" {
				t.Fatal(why)
			}
			expectBilled(t, s, wants)
		})
		wants = nil
	}
	missing := slices.DeleteFunc(slices.Clone(sdkChecks), func(name string) bool { return ran[name] })
	if len(missing) > 0 || len(ran) != len(sdkChecks) {
		t.Errorf("%s: %d checks ran, %d are known; not %q", cmd, len(ran), len(sdkChecks), missing)
	}
}
