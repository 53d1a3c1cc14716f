package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// env is everything that runs beside this program.
type env struct {
	dir, envoy string
	options    *options
	children   []*child
	provider   [sites]string // addresses
	targets    []*target
	shunt      *target // nil: not built
	admin      string  // shunt's
}

// target is a way from the client to the provider.
type target struct {
	name string
	// load says what to send to reach a site of the provider.
	load    func(site int, k kind) *load
	envoyOf []int         // pids of Envoy
	goOf    []int         // pids of Go
	settle  time.Duration // how long work goes on after the last answer
}

func (e *env) stop() {
	for _, c := range slices.Backward(e.children) {
		c.stop()
	}
	e.children = nil
}

func (e *env) start(name, path string, args ...string) (*child, error) {
	c, err := start(e.dir, name, path, args...)
	if err == nil {
		e.children = append(e.children, c)
	}
	return c, err
}

// role starts this program again in a role and returns the line that it is ready with.
func (e *env) role(name string) (*child, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	c, err := e.start(name, self, name)
	if err != nil {
		return nil, "", err
	}
	text, err := c.line()
	return c, text, err
}

// startBaselines starts the provider and every target but shunt.
func (e *env) startBaselines(ctx context.Context) error {
	_, ports, err := e.role(roleProvider)
	if err != nil {
		return err
	}
	for i, port := range strings.Fields(ports) {
		e.provider[i] = net.JoinHostPort("127.0.0.1", port)
	}
	direct := &target{name: "direct", load: func(site int, k kind) *load {
		return newLoad(e.provider[site], "/v1", "bench", k)
	}}
	plain, err := e.startEnvoy(ctx, "plain", "")
	if err != nil {
		return err
	}
	server, _, err := e.role(roleFloor)
	if err != nil {
		return err
	}
	floor, err := e.startEnvoy(ctx, "floor", filepath.Join(e.dir, floorSocket))
	if err != nil {
		return err
	}
	floor.goOf = []int{server.pid()}
	e.targets = append(e.targets, direct, plain, floor)
	return nil
}

func newLoad(addr, base, model string, k kind) *load {
	return &load{addr: addr, request: post(base, chatBody(model, k)), good: http.StatusOK}
}

// startEnvoy starts an Envoy with a route to every site of the provider, and
// through the ext_proc server at a socket, "" for none.
func (e *env) startEnvoy(ctx context.Context, name, extProc string) (*target, error) {
	config, err := envoyConfig(e.provider, extProc)
	if err != nil {
		return nil, err
	}
	file, adminFile := filepath.Join(e.dir, name+".yaml"), filepath.Join(e.dir, name+".admin")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return nil, err
	}
	c, err := e.start(name, e.envoy, "-c", file, "--disable-hot-restart", "--admin-address-path", adminFile, "--log-level", "warning")
	if err != nil {
		return nil, err
	}
	var addr string
	err = c.until(ctx, func() (err error) {
		admin, err := os.ReadFile(adminFile)
		if err != nil {
			return err
		}
		if _, err := get(ctx, "http://"+string(admin)+"/ready"); err != nil {
			return err
		}
		addr, err = listenerAddress(ctx, string(admin))
		return err
	})
	if err != nil {
		return nil, err
	}
	return &target{name: name, envoyOf: []int{c.pid()}, load: func(site int, k kind) *load {
		return newLoad(addr, sitePaths[site], "bench", k)
	}}, nil
}

// listenerAddress asks Envoy which port it was given.
func listenerAddress(ctx context.Context, admin string) (string, error) {
	text, err := get(ctx, "http://"+admin+"/listeners?format=json")
	if err != nil {
		return "", err
	}
	var list struct {
		Statuses []struct {
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return "", fmt.Errorf("reading Envoy's listeners: %w", err)
	}
	if len(list.Statuses) != 1 || list.Statuses[0].Local.Socket.Port == 0 {
		return "", fmt.Errorf("reading Envoy's listeners: not one with a port: %s", text)
	}
	s := list.Statuses[0].Local.Socket
	return fmt.Sprintf("%s:%d", s.Address, s.Port), nil
}

// get returns the body of a 200.
func get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %.300s", url, resp.Status, text)
	}
	return text, err
}

// errNotBuilt is that there is no shunt to measure.
var errNotBuilt = errors.New("shunt: not built")

// startShunt builds and starts `shunt run`.
func (e *env) startShunt(ctx context.Context) error {
	binary, err := e.buildShunt(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotBuilt, err)
	}
	listen, err := freeAddr()
	if err != nil {
		return err
	}
	if e.admin, err = freeAddr(); err != nil {
		return err
	}
	file := filepath.Join(e.dir, "shunt.yaml")
	if err := os.WriteFile(file, shuntConfig(listen, e.admin, e.provider), 0o600); err != nil {
		return err
	}
	c, err := e.start("shunt", binary, "run", "-c", file, "--envoy", e.envoy)
	if err != nil {
		return err
	}
	err = c.until(ctx, func() error {
		_, err := get(ctx, "http://"+e.admin+"/readyz")
		return err
	})
	if err != nil {
		return err
	}
	t := &target{name: "shunt", goOf: []int{c.pid()}, settle: time.Second, load: func(site int, k kind) *load {
		l := newLoad(listen, "/v1", modelOf[site], k)
		l.retried = site == siteDown
		return l
	}}
	for _, p := range descendants(c.pid()) {
		if p.exe == e.envoy {
			t.envoyOf = append(t.envoyOf, p.pid)
		} else {
			t.goOf = append(t.goOf, p.pid)
		}
	}
	if len(t.envoyOf) == 0 {
		return fmt.Errorf("shunt (%d) has no child that is %s", c.pid(), e.envoy)
	}
	e.shunt = t
	e.targets = append(e.targets, t)
	return nil
}

func (e *env) buildShunt(ctx context.Context) (string, error) {
	if e.options.shunt != "" {
		return filepath.Abs(e.options.shunt)
	}
	binary := filepath.Join(e.dir, "shunt")
	c := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/shunt")
	c.Dir = e.options.root
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/shunt in %s: %w: %s", e.options.root, err, bytes.TrimSpace(out))
	}
	return binary, nil
}

// freeAddr is a loopback address that nothing listens on at this moment.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
