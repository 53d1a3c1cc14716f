package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// The limits for code that is not a test.
const (
	maxFileLines = 400
	maxFuncLines = 60
)

func TestPackagesSayWhatTheyAre(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: its package comment begins with %.40q, want %q", inProject(p.ImportPath), p.Doc, want)
		}
	}
}

func TestFilesAndFunctionsAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		if n := len(s.lines) - 1; n > maxFileLines {
			t.Errorf("%s has %d lines, the limit is %d: which two ideas live in it?", s.name, n, maxFileLines)
		}
		for _, f := range longFuncs(s) {
			t.Errorf("%s:%d: %s has %d lines, the limit is %d", s.name, f.line, f.name, f.lines, maxFuncLines)
		}
	}
}

type longFunc struct {
	name        string
	line, lines int
}

func longFuncs(s *source) []longFunc {
	var long []longFunc
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := s.line(f.End()) - s.line(f.Pos()) + 1; n > maxFuncLines {
			long = append(long, longFunc{f.Name.Name, s.line(f.Pos()), n})
		}
	}
	return long
}

// TestNoTimeAfter: in a loop each round leaves a timer behind; a Timer or a
// Ticker that is stopped does not.
func TestNoTimeAfter(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || strings.HasPrefix(s.name, "test/") {
			continue
		}
		for _, name := range []string{"After", "Tick"} {
			for _, c := range s.calls("time", name) {
				t.Errorf("%s:%d: time.%s; use a Timer or Ticker, and stop it", s.name, s.line(c.Pos()), name)
			}
		}
	}
}

// TestSleepsAndSkipsHaveReasons: a sleep hides a race, a skip hides a hole. Each
// needs a comment on its line or right above.
func TestSleepsAndSkipsHaveReasons(t *testing.T) {
	for _, s := range sources(t) {
		for _, line := range unexplained(s) {
			t.Errorf("%s:%d: %s, and no comment beside it says why", s.name, line, strings.TrimSpace(s.lines[line-1]))
		}
	}
}

// unexplained are the lines of a test, or of what tests share, that sleep or skip
// without a comment.
func unexplained(s *source) []int {
	helps := strings.HasPrefix(s.name, "test/") && !strings.HasPrefix(s.name, "test/bench/")
	if !s.isTest() && !helps {
		return nil
	}
	explained := map[int]bool{}
	for _, g := range s.file.Comments {
		// The last line of a comment, and the line after it.
		explained[s.line(g.End())], explained[s.line(g.End())+1] = true, true
	}
	suspects := s.calls("time", "Sleep")
	for _, name := range []string{"Skip", "Skipf", "SkipNow"} {
		for _, c := range s.calls("", name) {
			if id, ok := c.Fun.(*ast.SelectorExpr).X.(*ast.Ident); ok && (id.Name == "t" || id.Name == "b" || id.Name == "f" || id.Name == "tb") {
				suspects = append(suspects, c)
			}
		}
	}
	var lines []int
	for _, c := range suspects {
		if n := s.line(c.Pos()); !explained[n] {
			lines = append(lines, n)
		}
	}
	return lines
}

// TestRulesFindOffenders: the rules above see what they are there for.
func TestRulesFindOffenders(t *testing.T) {
	read := func(name, text string) *source {
		s := &source{name: name, fset: token.NewFileSet(), lines: strings.Split(text, "\n")}
		var err error
		if s.file, err = parser.ParseFile(s.fset, name, text, parser.ParseComments); err != nil {
			t.Fatal(err)
		}
		return s
	}
	test := read("x/x_test.go", `package x
func TestX(t *testing.T) {
	time.Sleep(1)
	t.Skip("no")
	time.Sleep(2) // the kernel's own timer is what is tested
	// Reason.
	t.Skipf("no")
	s.Skip("not a test's")
}`)
	if got := unexplained(test); len(got) != 2 || got[0] != 3 || got[1] != 4 {
		t.Errorf("unexplained: lines %v, want 3 and 4", got)
	}
	long := read("x/x.go", "package x\nfunc Short() {\n}\nfunc Long() {\n"+strings.Repeat("\n", maxFuncLines)+"}\n")
	if got := longFuncs(long); len(got) != 1 || got[0].name != "Long" || got[0].lines != maxFuncLines+2 {
		t.Errorf("long functions: %+v, want Long", got)
	}
	after := read("x/x.go", "package x\nfunc F() {\nfor {\nselect {\ncase <-time.After(1):\n}\n}\n}\n")
	if got := after.calls("time", "After"); len(got) != 1 {
		t.Errorf("%d calls of time.After found, want 1", len(got))
	}
}
