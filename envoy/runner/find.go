package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// PinnedVersion is the release that the Makefile fetches, by hash, into the cache.
const PinnedVersion = "1.40.0"

// CachePath is where the Makefile puts it, below the root of a source tree.
const CachePath = ".cache/envoy/" + PinnedVersion + "/envoy"

// MinNative is the oldest Envoy that the native profile runs on: its
// priority-group cluster specifier and token usage came with 1.40.
var MinNative = Version{Major: 1, Minor: 40}

// versionTimeout bounds `envoy --version`.
const versionTimeout = 20 * time.Second

// Version is an Envoy release.
type Version struct {
	Major, Minor, Patch int
	Dev                 bool // a build on the way to that release
}

// String gives 1.40.0, or 1.41.0-dev.
func (v Version) String() string {
	s := fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.Dev {
		s += "-dev"
	}
	return s
}

// Less reports whether v is older than w. 1.41.0-dev is older than 1.41.0.
func (v Version) Less(w Version) bool {
	switch {
	case v.Major != w.Major:
		return v.Major < w.Major
	case v.Minor != w.Minor:
		return v.Minor < w.Minor
	case v.Patch != w.Patch:
		return v.Patch < w.Patch
	}
	return v.Dev && !w.Dev
}

// Binary is an Envoy that can be run.
type Binary struct {
	Path    string // absolute
	Version Version
}

// Search says where to look for an Envoy. The zero Search is what `shunt run`
// without flags uses.
type Search struct {
	Explicit string   // --envoy PATH: this one or none. "": look for one.
	Min      Version  // zero: MinNative
	Roots    []string // directories that may hold CachePath; nil: see cacheRoots
}

// Find returns the first of: Explicit; $ENVOY; envoy on PATH, if its version is
// supported; the pinned one in the cache. It downloads nothing. The error is
// ErrNotFound or ErrUnsupported: an Envoy that was named, by flag or variable, is
// used or refused, never passed over.
func (s Search) Find(ctx context.Context) (Binary, error) {
	if s.Min == (Version{}) {
		s.Min = MinNative
	}
	if s.Explicit != "" {
		return s.named(ctx, "--envoy", s.Explicit)
	}
	if p := os.Getenv("ENVOY"); p != "" {
		return s.named(ctx, "$ENVOY", p)
	}
	tried := []Tried{{"$ENVOY", "not set"}}
	bin, err := s.check(ctx, "envoy")
	if err == nil {
		return bin, nil
	}
	tried = append(tried, Tried{"envoy on PATH", reason(err)})
	roots := s.Roots
	if roots == nil {
		roots = cacheRoots()
	}
	for _, root := range roots {
		p := filepath.Join(root, CachePath)
		if bin, err = s.check(ctx, p); err == nil {
			return bin, nil
		}
		tried = append(tried, Tried{p, reason(err)})
	}
	return Binary{}, &NotFoundError{Tried: tried, Min: s.Min}
}

func (s Search) named(ctx context.Context, place, path string) (Binary, error) {
	bin, err := s.check(ctx, path)
	if err == nil || errors.Is(err, ErrUnsupported) {
		return bin, err
	}
	return Binary{}, &NotFoundError{Tried: []Tried{{place + " (" + path + ")", reason(err)}}, Min: s.Min}
}

// check asks the Envoy at path, or of that name on PATH, for its version.
func (s Search) check(ctx context.Context, path string) (Binary, error) {
	found, err := exec.LookPath(path)
	if err != nil {
		return Binary{}, err
	}
	if found, err = filepath.Abs(found); err != nil {
		return Binary{}, err
	}
	v, err := versionOf(ctx, found)
	if err != nil {
		return Binary{}, err
	}
	if v.Less(s.Min) {
		return Binary{}, &UnsupportedError{Path: found, Have: v, Min: s.Min}
	}
	return Binary{Path: found, Version: v}, nil
}

// versionLine is as `envoy --version` prints it: commit/1.40.0/Clean/RELEASE/BoringSSL.
var versionLine = regexp.MustCompile(`version: [0-9a-f]+/(\d+)\.(\d+)\.(\d+)(-dev)?/`)

func versionOf(ctx context.Context, path string) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = cleanEnv(nil)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return Version{}, fmt.Errorf("%s --version: %w", path, err)
	}
	return parseVersion(string(out))
}

func parseVersion(out string) (Version, error) {
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return Version{}, fmt.Errorf("not an Envoy: --version printed %.80q", out)
	}
	var n [3]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(m[i+1]); err != nil {
			return Version{}, fmt.Errorf("version %.80q: %w", m[0], err)
		}
	}
	return Version{Major: n[0], Minor: n[1], Patch: n[2], Dev: m[4] != ""}, nil
}

// cacheRoots are the working directory, and the executable's directory and its
// parent: bin/shunt finds its source tree's cache from anywhere.
func cacheRoots() []string {
	var roots []string
	if wd, err := os.Getwd(); err == nil {
		roots = append(roots, wd)
	}
	if exe, err := os.Executable(); err == nil {
		if file, err := filepath.EvalSymlinks(exe); err == nil {
			exe = file
		}
		dir := filepath.Dir(exe)
		for _, d := range []string{dir, filepath.Dir(dir)} {
			if len(roots) == 0 || d != roots[0] {
				roots = append(roots, d)
			}
		}
	}
	return roots
}

// reason shortens what exec says of a file that is not there.
func reason(err error) string {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return "not there"
	}
	return err.Error()
}

// cleanEnv is what Envoy and its guard need of the environment. The rest stays
// away from them: shunt's own holds provider keys (SEC-2).
func cleanEnv(extra []string) []string {
	var env []string
	for _, k := range []string{"PATH", "HOME", "TMPDIR", "TZ", "LANG", "GORACE", "GOCOVERDIR"} {
		if v, ok := os.LookupEnv(k); ok {
			env = append(env, k+"="+v)
		}
	}
	return append(env, extra...)
}
