package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/shunt-gateway/shunt/envoy"
	"github.com/shunt-gateway/shunt/envoy/runner"
)

// runCommand starts Envoy and everything else (CMD-1).
func runCommand() *cobra.Command {
	flags := configFlags{journal: true}
	var binary string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "start Envoy and everything else",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			found, err := runner.Search{Explicit: binary}.Find(ctx)
			if err != nil {
				return err
			}
			return runAll(ctx, newApp(&flags, slog.Default()), found, cmd.OutOrStdout())
		},
	}
	flags.add(cmd)
	flags.addOverrides(cmd)
	cmd.Flags().StringVar(&binary, "envoy", "", "the Envoy to start, instead of $ENVOY, PATH and the project's cache")
	return cmd
}

// runAll runs until ctx ends or something fails, and stops everything: Envoy
// first, so that its last records still find shunt.
func runAll(ctx context.Context, a *app, binary runner.Binary, out io.Writer) (err error) {
	if err := a.start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.stop(context.WithoutCancel(ctx))) }()

	r, err := a.newRunner(binary)
	if err != nil {
		return err
	}
	a.accounts.journal.RotateWith(r.ReopenLogs)
	running, stopEnvoy := context.WithCancel(ctx)
	defer stopEnvoy()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(running) }()
	a.ready.set(func(ctx context.Context) error { return a.envoyReady(ctx, r) })
	defer hurryOnSecondSignal(ctx, r)()

	err = a.untilDone(ctx, ended, func() { a.announce(out, binary) })
	stopEnvoy()
	if !errors.Is(err, errEnvoyEnded) {
		end := <-ended
		a.envoyGone.Store(end == nil)
		err = errors.Join(err, end)
	}
	return err
}

// hurryOnSecondSignal cuts Envoy's draining short when whoever asked for the end asks
// again. The returned function stops the watching.
func hurryOnSecondSignal(ctx context.Context, r *runner.Runner) (stop func()) {
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-done:
			return
		}
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
		defer signal.Stop(signals)
		select {
		case <-signals:
			r.Hurry()
		case <-done:
		}
	}()
	return func() { close(done) }
}

// errEnvoyEnded marks what the runner returned.
var errEnvoyEnded = errors.New("envoy ended")

// untilDone waits for the end: of ctx, of Envoy, or of a part. It calls ready once,
// when Envoy first answers with the current configuration; before that, a
// configuration that Envoy refuses is the end too.
func (a *app) untilDone(ctx context.Context, envoyEnded <-chan error, ready func()) error {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	tick, nacks := poll.C, a.nacks
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-envoyEnded:
			if err == nil && ctx.Err() != nil {
				return errEnvoyEnded
			}
			return fmt.Errorf("%w: %w", errEnvoyEnded, err)
		case err := <-a.failures:
			return environmentError{err}
		case err := <-nacks:
			return refused(err)
		case <-tick:
			if a.ready.check(ctx) == nil {
				ready()
				tick, nacks = nil, nil
			}
		}
	}
}

// refused sorts Envoy's refusal of its first configuration.
func refused(err error) error {
	if strings.Contains(err.Error(), "cannot bind") || strings.Contains(err.Error(), "Address already in use") {
		return environmentError{err}
	}
	return inputError{err}
}

func (a *app) newRunner(binary runner.Binary) (*runner.Runner, error) {
	c := a.current()
	o, err := envoyOptions(c)
	if err != nil {
		return nil, err
	}
	bootstrap, err := envoy.Bootstrap(o)
	if err != nil {
		return nil, err
	}
	r, err := runner.New(runner.Options{
		Binary: binary.Path, Bootstrap: bootstrap, RunDir: a.place.envoy(),
		Listen: []string{c.Listen}, Logger: a.log.With("from", "envoy"), FileFlush: journalFlush,
	})
	a.runner.Store(r)
	return r, err
}

// envoyReady is /readyz under run: Envoy has taken the newest configuration, and
// answers (CMD-8).
func (a *app) envoyReady(ctx context.Context, r *runner.Runner) error {
	if ok, missing := a.ads.Current(); !ok {
		return errors.New(missing)
	}
	return r.Ready(ctx)
}

func (a *app) announce(out io.Writer, binary runner.Binary) {
	c := a.current()
	_, _ = fmt.Fprintf(out, "clients  http://%s  (Envoy %s)\nadmin    http://%s  (/healthz /readyz /metrics)\n"+
		"billing  %s\nready: %s\n", c.Listen, binary.Version, c.Admin, sinkNames(c), summary(c))
}
