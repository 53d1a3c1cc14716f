package catalog

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the faults that Parse reports into testdata/faults")

const (
	someProviders = `providers: {novita: {endpoint: "https://api.novita.ai/v3"}, together: {endpoint: "https://api.together.xyz/v1"}}` + "\n"
	someModels    = `models: {kimi: {offers: [{provider: novita, model: m}]}}` + "\n"
)

var (
	hasProviders = regexp.MustCompile(`(?m)^providers:`)
	hasModels    = regexp.MustCompile(`(?m)^models:`)
)

// complete appends what a small input leaves out, so that it stays small.
func complete(input string) string {
	if !hasProviders.MatchString(input) {
		input += someProviders
	}
	if !hasModels.MatchString(input) {
		input += someModels
	}
	return input
}

func outcome(input string) string {
	_, err := Parse(Source{Name: "shunt.yaml", Data: []byte(input), Dir: "/etc/shunt"})
	if err != nil {
		return err.Error() + "\n"
	}
	return "ok\n"
}

// TestFaults runs the transcripts of testdata/faults: one mistake of each kind,
// and what is said about it. With -rewrite it writes them.
func TestFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/faults/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(data), "\n==== ")
		out := parts[0]
		for _, part := range parts[1:] {
			name, body, _ := strings.Cut(part, "\n")
			input, want, ok := strings.Cut(body, "\n----")
			if !ok {
				t.Fatalf("%s: %s: no ----", file, name)
			}
			want = strings.TrimPrefix(want, "\n")
			text := input + "\n"
			if strings.HasSuffix(name, " quoted") {
				if text, err = strconv.Unquote(input); err != nil {
					t.Fatalf("%s: %s: %v", file, name, err)
				}
			} else {
				text = complete(text)
			}
			got := outcome(text)
			out += "\n==== " + name + "\n" + input + "\n----\n" + strings.TrimSuffix(got, "\n")
			t.Run(filepath.Base(file)+"/"+name, func(t *testing.T) {
				if strings.Contains(got, "literal") || strings.Contains(got, "hunter2") || strings.Contains(got, "12345678:") {
					t.Errorf("a secret is shown:\n%s", got)
				}
				if !*rewrite && strings.TrimSpace(got) != strings.TrimSpace(want) {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		}
		if *rewrite {
			if err := os.WriteFile(file, []byte(out+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
