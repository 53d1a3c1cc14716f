package policy_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/conformance"
)

// noon is when all tests here happen.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func suite(t testing.TB) (*conformance.Suite, map[string]*catalog.Catalog) {
	t.Helper()
	s, err := conformance.Load(os.DirFS("testdata/conformance"))
	if err != nil {
		t.Fatal(err)
	}
	catalogs := make(map[string]*catalog.Catalog)
	for name, data := range s.Catalogs {
		catalogs[name] = parse(t, name+".yaml", string(data))
	}
	return s, catalogs
}

func parse(t testing.TB, name, yaml string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Parse(catalog.Source{Name: name, Data: []byte(yaml), Dir: "/nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) {
	s, catalogs := suite(t)
	for i := range s.Cases {
		c := &s.Cases[i]
		t.Run(c.ID, func(t *testing.T) {
			r, err := c.Decide(catalogs[c.Catalog], noon)
			if err != nil {
				t.Fatalf("%s.txt:%d: %v", c.Section, c.Line, err)
			}
			for _, diff := range c.Want.Compare(r) {
				t.Errorf("%s.txt:%d: %s: %s", c.Section, c.Line, c.Title, diff)
			}
			if t.Failed() && r.Decision != nil {
				var b bytes.Buffer
				if err := policy.Explain(r.Request, r.Decision, r.Snapshot).WriteText(&b); err != nil {
					t.Error(err)
				}
				t.Logf("%s", b.String())
			}
		})
	}
}
