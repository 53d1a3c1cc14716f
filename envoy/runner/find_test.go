package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// install makes an Envoy of that version: a link to this binary.
func install(t *testing.T, path string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindOrder(t *testing.T) {
	dir := t.TempDir()
	old := install(t, filepath.Join(dir, "1.39.3", "envoy"))
	onPath := install(t, filepath.Join(dir, "1.41.0", "envoy"))
	named := install(t, filepath.Join(dir, "1.42.1", "envoy"))
	root := filepath.Join(dir, "root")
	cached := install(t, filepath.Join(root, CachePath))
	for name, c := range map[string]struct {
		explicit, env, path string
		want                string
		err                 error
	}{
		"explicit":              {named, old, filepath.Dir(onPath), named, nil},
		"explicit, too old":     {old, named, filepath.Dir(onPath), "", ErrUnsupported},
		"explicit, not there":   {filepath.Join(dir, "no"), named, filepath.Dir(onPath), "", ErrNotFound},
		"$ENVOY":                {"", named, filepath.Dir(onPath), named, nil},
		"$ENVOY, too old":       {"", old, filepath.Dir(onPath), "", ErrUnsupported},
		"$ENVOY, not there":     {"", filepath.Join(dir, "no"), filepath.Dir(onPath), "", ErrNotFound},
		"$ENVOY, a name":        {"", "envoy", filepath.Dir(onPath), onPath, nil},
		"PATH":                  {"", "", filepath.Dir(onPath), onPath, nil},
		"PATH too old: cache":   {"", "", filepath.Dir(old), cached, nil},
		"PATH without: cache":   {"", "", dir, cached, nil},
		"PATH in order":         {"", "", filepath.Dir(onPath) + ":" + filepath.Dir(old), onPath, nil},
		"explicit, a directory": {dir, "", "", "", ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("ENVOY", c.env)
			t.Setenv("PATH", c.path)
			b, err := Search{Explicit: c.explicit, Roots: []string{dir, root}}.Find(t.Context())
			if !errors.Is(err, c.err) || b.Path != c.want {
				t.Errorf("found %+v, %v; want %q, %v", b, err, c.want, c.err)
			}
		})
	}
}

func TestFindNowhereSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	old := install(t, filepath.Join(dir, "1.39.3", "envoy"))
	t.Setenv("ENVOY", "")
	t.Setenv("PATH", filepath.Dir(old))
	_, err := Search{Roots: []string{dir}}.Find(t.Context())
	var nf *NotFoundError
	if !errors.Is(err, ErrNotFound) || !errors.As(err, &nf) || len(nf.Tried) != 3 {
		t.Fatalf("Find: %v", err)
	}
	for _, want := range []string{"$ENVOY: not set", "1.39.3", filepath.Join(dir, CachePath) + ": not there", "1.40.0 or newer", "make envoy"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for out, want := range map[string]string{
		"\nenvoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n\n": "1.40.0",
		"envoy  version: abc/1.41.2-dev/Modified/DEBUG/BoringSSL":                                       "1.41.2-dev",
		"nginx version: nginx/1.18.0":            "",
		"":                                       "",
		"version: abc/99999999999999999999.0.0/": "",
	} {
		v, err := parseVersion(out)
		if (err != nil) != (want == "") || err == nil && v.String() != want {
			t.Errorf("%q: %v, %v; want %s", out, v, err, want)
		}
	}
}

func TestVersionOrder(t *testing.T) {
	order := []Version{{1, 39, 9, false}, {1, 40, 0, true}, {1, 40, 0, false}, {1, 40, 1, false}, {2, 0, 0, true}}
	for i, v := range order {
		for j, w := range order {
			if v.Less(w) != (i < j) {
				t.Errorf("%v < %v is %v", v, w, v.Less(w))
			}
		}
	}
}
