package policy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/policy"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files of explanations anew")

// TestExplain holds the explanation of some conformance cases against golden
// files.
//
//	go test ./policy -run TestExplain -rewrite
func TestExplain(t *testing.T) {
	s, catalogs := suite(t)
	golden := map[string]string{"SEL-14a": "default", "SEL-5a": "explicit", "SEL-11b": "cooling", "SEL-3k": "refused", "PREF-5c": "preference"}
	for i := range s.Cases {
		name, ok := golden[s.Cases[i].ID]
		if !ok {
			continue
		}
		delete(golden, s.Cases[i].ID)
		r, err := s.Cases[i].Decide(catalogs[s.Cases[i].Catalog], noon)
		if err != nil {
			t.Fatal(err)
		}
		x := policy.Explain(r.Request, r.Decision, r.Snapshot)
		x.Catalog = "hash"
		var b bytes.Buffer
		if err := x.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		text, err := json.MarshalIndent(x, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n" + string(text) + "\n\n" + x.Header(120) + "\n" + x.Header(4096) + "\n")
		file := filepath.Join("testdata", "explain", name+".txt")
		if *rewrite {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, b.Bytes()) {
			t.Errorf("%s differs:\n%s", file, b.Bytes())
		}
	}
	if len(golden) > 0 {
		t.Errorf("no cases %v", golden)
	}
}

func TestHeaderIsBounded(t *testing.T) {
	x := &policy.Explanation{Model: "möd\x00el\n", Kind: "default", Sort: "price",
		Attempts: []policy.Row{{Rank: 1, Model: "other", Provider: "näh", Why: "wäh"}}}
	whole := len(x.Header(1000))
	for n := range 120 {
		h := x.Header(n)
		if len(h) > n || strings.ContainsFunc(h, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%d: %q", n, h)
		}
		if n >= 3 && n < whole && !strings.HasSuffix(h, "...") {
			t.Errorf("%d: %q does not say that it was cut", n, h)
		}
	}
	if h := x.Header(-1); h != "" {
		t.Errorf("%q", h)
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteTextReportsErrors(t *testing.T) {
	if err := new(policy.Explanation).WriteText(brokenWriter{}); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}
