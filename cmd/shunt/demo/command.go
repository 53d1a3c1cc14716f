package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// Errors that the command's caller turns into exit codes.
var (
	// ErrListen is an address that cannot be listened on: the environment's fault.
	ErrListen = errors.New("cannot listen")
	// ErrNotOurs is a file that --write-config would have overwritten.
	ErrNotOurs = errors.New("the file was not written by shunt demo")
)

// options are the command's flags.
type options struct {
	listenBase  string
	writeConfig string
	layout      Layout
}

// Command is `shunt demo` (CMD-6). It runs until SIGINT, SIGTERM or the end of
// its context.
func Command() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run fake providers with set latency, price, speed and failures",
		Long: "Run fake providers with set latency, price, speed and failures, for trying things out:\n" +
			"  shunt demo --write-config demo.yaml\n" +
			"  shunt run -c demo.yaml",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return run(ctx, c.OutOrStdout(), &o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.listenBase, "listen-base", "", "`host:port` of the first provider, the others follow (default free ports of 127.0.0.1)")
	f.StringVar(&o.writeConfig, "write-config", "", "write a shunt.yaml for these providers to this `path`; it stays")
	f.StringVar(&o.layout.Listen, "listen", "", "the client-facing `host:port` in that file")
	f.StringVar(&o.layout.Admin, "admin", "", "the admin `host:port` in that file")
	return c
}

// site is a provider and where it listens.
type site struct {
	provider *Provider
	ln       net.Listener
}

func (s site) url() string { return "http://" + s.ln.Addr().String() + s.provider.config.BasePath }

func run(ctx context.Context, out io.Writer, o *options) error {
	// Whoever runs the file would be told that it has a mistake: it is one of this line.
	for flag, addr := range map[string]string{"--listen": o.layout.Listen, "--admin": o.layout.Admin} {
		if _, _, err := net.SplitHostPort(addr); addr != "" && err != nil {
			return fmt.Errorf("%s %q: %w", flag, addr, err)
		}
	}
	sites, err := listen(ctx, o.listenBase)
	if err != nil {
		return err
	}
	defer closeAll(sites)
	if o.writeConfig != "" {
		o.layout.Endpoints = map[string]string{}
		for _, s := range sites {
			o.layout.Endpoints[s.provider.Name()] = s.url()
		}
		if err := writeConfig(o.writeConfig, o.layout); err != nil {
			return err
		}
	}
	if err := announce(out, sites, o.writeConfig); err != nil {
		return err
	}
	return serveAll(ctx, sites)
}

// serveAll serves until ctx ends or one provider cannot go on, which ends the others.
func serveAll(ctx context.Context, sites []site) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(sites))
	for _, s := range sites {
		go func() { ended <- Serve(ctx, s.ln, s.provider) }()
	}
	var errs error
	for range sites {
		if err := <-ended; err != nil {
			errs = errors.Join(errs, err)
			cancel()
		}
	}
	return errs
}

// listen opens every provider's listener, or none.
func listen(ctx context.Context, base string) (sites []site, err error) {
	host, port := "127.0.0.1", 0
	if base != "" {
		if host, port, err = splitBase(base); err != nil {
			return nil, err
		}
	}
	for i, c := range Defaults() {
		at := net.JoinHostPort(host, "0")
		if base != "" {
			at = net.JoinHostPort(host, strconv.Itoa(port+i))
		}
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", at)
		if err != nil {
			closeAll(sites)
			return nil, fmt.Errorf("provider %s: %w: %w", c.Name, ErrListen, err)
		}
		sites = append(sites, site{New(c), ln})
	}
	return sites, nil
}

func splitBase(base string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(base)
	if err != nil {
		return "", 0, fmt.Errorf("--listen-base %q: %w", base, err)
	}
	last := len(Defaults()) - 1
	port, err = strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535-last {
		return "", 0, fmt.Errorf("--listen-base %q: the port is not within 1 to %d", base, 65535-last)
	}
	return host, port, nil
}

func closeAll(sites []site) {
	for _, s := range sites {
		_ = s.ln.Close()
	}
}

// writeConfig writes shunt.yaml to path, over nothing but one of its own.
func writeConfig(path string, l Layout) error {
	old, err := os.ReadFile(path)
	switch {
	case err == nil && !bytes.HasPrefix(old, []byte(yamlMark)):
		return fmt.Errorf("writing %s: %w", path, ErrNotOurs)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("writing the configuration: %w", err)
	}
	text, err := ShuntYAML(l)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}

// announce prints what listens where.
func announce(out io.Writer, sites []site, config string) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROVIDER\tENDPOINT\tFIRST TOKEN\tTOKENS/S\tFAILS")
	for _, s := range sites {
		b := s.provider.config.Behaviour
		fmt.Fprintf(t, "%s\t%s\t%v\t%v\t%.0f%%\n", s.provider.Name(), s.url(),
			time.Duration(b.TTFT), b.TokensPerSecond, 100*b.FailureRate)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("printing the providers: %w", err)
	}
	if config != "" {
		fmt.Fprintf(out, "\nwrote %s; next: shunt run -c %s\n", config, config)
	}
	_, err := fmt.Fprintln(out, "Ctrl-C ends them")
	return err
}
