package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shunt-gateway/shunt/catalog"
)

// checkCommand validates a configuration (CMD-3).
func checkCommand() *cobra.Command {
	var flags configFlags
	var withoutSecrets bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "validate a configuration",
		Long: "Validates a configuration and reports every mistake in it with its place. Exit code 1 if there is one.\n" +
			"Secrets have to be there too, as `shunt run` would need them; --without-secrets leaves them out.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			load := flags.loadWithSecrets
			if withoutSecrets {
				load = flags.load
			}
			c, err := load()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok: %s\n", flags.path, summary(c))
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&withoutSecrets, "without-secrets", false, "do not require environment variables and files of secrets")
	return cmd
}

func summary(c *catalog.Catalog) string {
	return fmt.Sprintf("%d providers, %d models, %d offers, %d variants, catalog %.12s",
		len(c.Providers), len(c.Models), len(c.Offers()), len(c.Variants), c.Hash)
}
