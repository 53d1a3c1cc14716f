package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// serveCommand is run without starting Envoy (CMD-2).
func serveCommand() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "serve an Envoy that someone else runs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			a := newApp(&flags, slog.Default())
			if err := a.start(ctx); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, a.stop(context.WithoutCancel(ctx))) }()
			a.ready.set(func(context.Context) error { return nil }) // started: it can decide
			c := a.current()
			_, _ = fmt.Fprintf(cmd.OutOrStdout(), "gRPC   unix://%s  (ext_proc, ADS, access log)\nAPI    unix://%s\n"+
				"admin  http://%s  (/healthz /readyz /metrics)\nready: %s\n", a.place.grpc(), a.place.api(), c.Admin, summary(c))
			select {
			case <-ctx.Done():
				return nil
			case err := <-a.failures:
				return environmentError{err}
			}
		},
	}
	flags.add(cmd)
	flags.addOverrides(cmd)
	return cmd
}
