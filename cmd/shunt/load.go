package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/shunt-gateway/shunt/catalog"
)

// configFlags name the configuration and what the command line overrides in it.
type configFlags struct {
	path   string
	listen string
	admin  string
	// journal: without billing.journal there is one in data_dir, since Envoy is on
	// this machine too and sees it.
	journal bool
}

func (f *configFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.path, "config", "c", "shunt.yaml", "the configuration file")
}

func (f *configFlags) addOverrides(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.listen, "listen", "", "host:port for clients, instead of the configuration's listen")
	cmd.Flags().StringVar(&f.admin, "admin", "", "host:port of health and metrics, instead of the configuration's admin")
}

// when does something if its flag is on, for BoolFunc: --json=false is off.
func when(do func()) func(string) error {
	return func(value string) error {
		on, err := strconv.ParseBool(value)
		if on {
			do()
		}
		return err
	}
}

// load reads and validates the file. Secrets are not resolved.
func (f *configFlags) load() (*catalog.Catalog, error) {
	data, err := os.ReadFile(f.path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, inputError{fmt.Errorf("%s: no such file; name one with -c FILE", f.path)}
		}
		return nil, inputError{fmt.Errorf("read the configuration: %w", err)}
	}
	dir, err := filepath.Abs(filepath.Dir(f.path))
	if err != nil {
		return nil, environmentError{fmt.Errorf("find the directory of %s: %w", f.path, err)}
	}
	c, err := catalog.Parse(catalog.Source{Name: f.path, Data: data, Dir: dir})
	if err != nil {
		return nil, inputError{err}
	}
	if j := &c.Billing.Durability.Journal; f.journal && j.Path == "" {
		j.Path = filepath.Join(c.DataDir, journalDir, "ends.jsonl")
	}
	return c.Override(f.listen, f.admin)
}

// loadWithSecrets also makes sure that every secret and the key set can be had.
func (f *configFlags) loadWithSecrets() (*catalog.Catalog, error) {
	c, err := f.load()
	if err != nil {
		return nil, err
	}
	if faults := c.CheckFiles(os.LookupEnv, os.ReadFile); len(faults) > 0 {
		return nil, inputError{faults}
	}
	return c, nil
}

// resolve reads a secret from where the configuration says it is (SEC-2).
func resolve(s catalog.Secret) (string, error) { return s.Resolve(os.LookupEnv, os.ReadFile) }
