package demo_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

// config is what the tests look at in a shunt.yaml.
type config struct {
	Listen, Admin string
	Providers     map[string]struct {
		Endpoint string
		APIKey   string `yaml:"api_key"`
	}
	Models map[string]struct {
		Defaults []string `yaml:"default_providers"`
		Offers   []struct {
			Provider, Model string
			Engines         []string
			Estimate        struct{ TTFT time.Duration }
			Price           struct{ Prompt, Completion float64 }
		}
	}
	Engines map[string]struct {
		Default string `yaml:"default_provider"`
	}
	Variants map[string]struct {
		Model  string
		Models []string
	}
}

func parse(t *testing.T, text []byte) (c config) {
	t.Helper()
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return c
}

func endpoints() map[string]string {
	all := map[string]string{}
	for _, c := range demo.Defaults() {
		all[c.Name] = "http://127.0.0.1:1" + c.BasePath
	}
	return all
}

func TestShuntYAML(t *testing.T) {
	text, err := demo.ShuntYAML(demo.Layout{Listen: "127.0.0.1:7", Admin: "127.0.0.1:8", Endpoints: endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Data: text, Dir: t.TempDir()}); err != nil {
		t.Errorf("shunt would not read it: %v", err)
	}
	c := parse(t, text)
	served := map[string][]string{}
	for _, d := range demo.Defaults() {
		served[d.Name] = d.Models
		if got := c.Providers[d.Name]; got.Endpoint != "http://127.0.0.1:1"+d.BasePath || got.APIKey != d.APIKey {
			t.Errorf("%s: %+v", d.Name, got)
		}
	}
	if c.Listen != "127.0.0.1:7" || c.Admin != "127.0.0.1:8" || len(c.Models) != 3 || len(c.Engines) != 1 || len(c.Variants) != 1 {
		t.Errorf("%+v", c)
	}
	for id, m := range c.Models {
		for _, o := range m.Offers {
			if !strings.Contains(strings.Join(served[o.Provider], " "), o.Model) || o.Price.Prompt <= 0 ||
				o.Price.Completion <= 0 || o.Estimate.TTFT <= 0 {
				t.Errorf("%s: %+v", id, o)
			}
			for _, e := range o.Engines {
				if c.Engines[e].Default == "" {
					t.Errorf("%s: unknown engine %q", id, e)
				}
			}
		}
		for _, p := range m.Defaults {
			if served[p] == nil {
				t.Errorf("%s: unknown provider %q", id, p)
			}
		}
	}
	for name, v := range c.Variants {
		for _, id := range append(v.Models, v.Model) {
			if _, ok := c.Models[id]; !ok {
				t.Errorf("variant %s: unknown model %q", name, id)
			}
		}
	}
	if _, err := demo.ShuntYAML(demo.Layout{}); err == nil {
		t.Error("no endpoints, no error")
	}
}

// output hands each line that a command prints to the test.
type output struct{ lines chan string }

func (o output) Write(b []byte) (int, error) {
	o.lines <- string(b)
	return len(b), nil
}

// command runs `shunt demo` with args until it is ready; stop ends it.
func command(ctx context.Context, t *testing.T, args ...string) (printed string, ended chan error) {
	t.Helper()
	out := output{make(chan string, 100)}
	c := demo.Command()
	c.SetArgs(args)
	c.SetOut(out)
	ended = make(chan error, 1)
	go func() { ended <- c.ExecuteContext(ctx) }()
	for {
		select {
		case line := <-out.lines:
			printed += line
			if strings.Contains(line, "Ctrl-C") {
				return printed, ended
			}
		case err := <-ended:
			ended <- err
			return printed, ended
		}
	}
}

func TestCommand(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	path := filepath.Join(t.TempDir(), "new", "demo.yaml")
	printed, ended := command(ctx, t, "--write-config", path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err, printed)
	}
	transport := &http.Transport{}
	client := &http.Client{Transport: transport}
	for name, p := range parse(t, text).Providers {
		if !regexp.MustCompile(`(?m)^` + name + ` +` + regexp.QuoteMeta(p.Endpoint)).MatchString(printed) {
			t.Errorf("%s is not in\n%s", name, printed)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Endpoint+"/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("authorization", "Bearer "+p.APIKey)
		resp, err := client.Do(r)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(name, resp, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	transport.CloseIdleConnections()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// Its own file it may overwrite; its end, too, is by context.
	ctx2, stop := context.WithCancel(ctx)
	_, ended = command(ctx2, t, "--write-config", path, "--listen", "127.0.0.1:7")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); err != nil || parse(t, text).Listen != "127.0.0.1:7" {
		t.Error(err, string(text))
	}
}

func TestCommandRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	users := filepath.Join(t.TempDir(), "shunt.yaml")
	if err := os.WriteFile(users, []byte("listen: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want error
	}{
		{[]string{"--listen-base", taken.Addr().String()}, demo.ErrListen},
		{[]string{"--write-config", users}, demo.ErrNotOurs},
		{[]string{"--listen-base", "127.0.0.1"}, nil},
		{[]string{"--listen", "127.0.0.1"}, nil},
		{[]string{"--admin", "localhost"}, nil},
		{[]string{"--listen-base", "127.0.0.1:65533"}, nil},
		{[]string{"surplus"}, nil},
	} {
		_, ended := command(t.Context(), t, c.args...)
		if err := <-ended; err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.args, err, c.want)
		}
	}
	if text, err := os.ReadFile(users); err != nil || string(text) != "listen: x\n" {
		t.Error(err, string(text))
	}
}
