package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shunt-gateway/shunt/envoy"
)

// renderCommand writes configuration for an Envoy that someone else runs (CMD-5).
func renderCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "render",
		Short: "write configuration for an Envoy that someone else runs",
		// Flags are a target's: an unknown target is to be named, not its flags.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		Args:               cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("render: name what for: envoy")
			}
			return fmt.Errorf("render %q: it can be envoy", args[0])
		},
	}
	cmd.AddCommand(renderEnvoyCommand())
	return cmd
}

func renderEnvoyCommand() *cobra.Command {
	var flags configFlags
	var withSecrets bool
	cmd := &cobra.Command{
		Use:   "envoy",
		Short: "write a static Envoy bootstrap",
		Long: "Writes a complete bootstrap for Envoy 1.40 or newer. Run `shunt serve` with the same configuration beside it.\n" +
			"Provider keys are written as references to environment variables and files, which Envoy reads itself.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.load()
			if err != nil {
				return err
			}
			o, err := envoyOptions(c)
			if err != nil {
				return err
			}
			source := envoy.ReferencedSecrets()
			if withSecrets {
				source = envoy.InlineSecrets(resolve)
			}
			text, err := envoy.Static(c, o, source)
			if err != nil {
				return inputError{err}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s", text)
			return err
		},
	}
	flags.add(cmd)
	flags.addOverrides(cmd)
	cmd.Flags().BoolVar(&withSecrets, "with-secrets", false, "write provider keys themselves into the output")
	return cmd
}
