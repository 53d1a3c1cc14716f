package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/envoy/runner"
)

// Exit codes (CMD-7).
const (
	exitInput       = 1 // a mistake in the input
	exitUsage       = 2 // a mistake on the command line
	exitEnvironment = 3 // a port taken, no Envoy, a directory that cannot be written
)

// inputError and environmentError say whose mistake an error is.
type (
	inputError       struct{ error }
	environmentError struct{ error }
)

func (e inputError) Unwrap() error       { return e.error }
func (e environmentError) Unwrap() error { return e.error }

// Main runs the command line and returns the exit code.
func Main() int { return run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr) }

func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(errOut, message(err))
	return exitCode(err)
}

// message is what a person reads: the faults of a file one a line, anything else
// after the program's name.
func message(err error) string {
	var faults catalog.Faults
	if errors.As(err, &faults) {
		return faults.Error()
	}
	return "shunt: " + err.Error()
}

func exitCode(err error) int {
	var in inputError
	var env environmentError
	var faults catalog.Faults
	switch {
	case errors.As(err, &in), errors.As(err, &faults), errors.Is(err, demo.ErrNotOurs):
		return exitInput
	case errors.As(err, &env), errors.Is(err, runner.ErrNotFound), errors.Is(err, runner.ErrUnsupported),
		errors.Is(err, runner.ErrPortTaken), errors.Is(err, runner.ErrInUse), errors.Is(err, runner.ErrGaveUp),
		errors.Is(err, demo.ErrListen):
		return exitEnvironment
	default:
		return exitUsage
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "shunt",
		Short:         "provider routing for Envoy",
		Long:          "shunt decides, request by request, which provider serves an OpenAI-style call; Envoy carries it out.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	var level slog.LevelVar
	var format string
	root.PersistentFlags().TextVar(&level, "log-level", &level, "debug, info, warn or error")
	root.PersistentFlags().StringVar(&format, "log-format", "text", "text or json")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		h, err := logHandler(format, cmd.ErrOrStderr(), &slog.HandlerOptions{Level: &level})
		if err == nil {
			slog.SetDefault(slog.New(h))
		}
		return err
	}
	root.AddCommand(runCommand(), serveCommand(), checkCommand(), explainCommand(), renderCommand(), billingCommand(), demo.Command())
	return root
}

func logHandler(format string, w io.Writer, o *slog.HandlerOptions) (slog.Handler, error) {
	switch format {
	case "text":
		return slog.NewTextHandler(w, o), nil
	case "json":
		return slog.NewJSONHandler(w, o), nil
	}
	return nil, fmt.Errorf("--log-format %q: want text or json", format)
}

// version is set by the build.
var version = "dev"
