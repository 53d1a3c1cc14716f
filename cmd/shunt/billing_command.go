package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/shunt-gateway/shunt/extproc/billing/audit"
)

// billingCommand reads billing events back.
func billingCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "billing",
		Short: "follow, verify, add up and explain billing events, and redrive those that a sink did not take",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("billing: name one of tail, verify, export, explain, dead-letters")
		},
	}
	cmd.AddCommand(tailCommand(), verifyCommand(), exportCommand(), explainEventCommand(), deadCommand())
	return cmd
}

// readEvents calls each for every line of the files; "-" is standard input.
func readEvents(stdin io.Reader, files []string, each func(*audit.Line) error) error {
	rd := audit.NewReader()
	for _, name := range files {
		if err := readFile(rd, stdin, name, each); err != nil {
			return err
		}
	}
	return nil
}

func readFile(rd *audit.Reader, stdin io.Reader, name string, each func(*audit.Line) error) error {
	if name == "-" {
		return rd.Read("stdin", stdin, each)
	}
	f, err := os.Open(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return inputError{fmt.Errorf("%s: no such file of events", name)}
		}
		return inputError{fmt.Errorf("read events: %w", err)}
	}
	defer func() { _ = f.Close() }()
	if err := rd.Read(name, f, each); err != nil {
		return inputError{err}
	}
	return nil
}

// exportCommand adds events up.
func exportCommand() *cobra.Command {
	var by []string
	cmd := &cobra.Command{
		Use:   "export FILE…",
		Short: "add events up, as CSV",
		Long: "export adds up the events of files (- is standard input) and writes one CSV line for each group. An event that was\n" +
			"delivered twice counts once. Currencies are never added to each other. It exits 1 if a line is no event, and writes\n" +
			"nothing then; `shunt billing verify` says which.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			totals, err := audit.NewTotals(by)
			if err != nil {
				return fmt.Errorf("--by: %w", err)
			}
			err = readEvents(cmd.InOrStdin(), files, func(l *audit.Line) error {
				switch {
				case l.Err != nil:
					return fmt.Errorf("%s: %w", l.At(), l.Err)
				case l.First != "":
					return nil
				}
				if err := totals.Add(l.Event); err != nil {
					return fmt.Errorf("%s: %w", l.At(), err)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return totals.WriteCSV(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringSliceVar(&by, "by", []string{"day", "model", "provider", "caller"}, "what to add up by, of day, month, model, provider, caller, kind, status, api, mode, source, id")
	cmd.Flags().Bool("csv", true, "write CSV, which is the only form there is")
	return cmd
}

// explainEventCommand tells how an amount came about.
func explainEventCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain ID FILE…",
		Short: "tell how a request's amount came about",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			found := false
			err := readEvents(cmd.InOrStdin(), args[1:], func(l *audit.Line) error {
				if l.Event == nil || l.Event.ID != args[0] || l.First != "" && l.Err == nil {
					return nil
				}
				found = true
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", l.At()); err != nil {
					return err
				}
				return audit.WriteStory(cmd.OutOrStdout(), l.Event)
			})
			if err == nil && !found {
				err = inputError{fmt.Errorf("no event with the id %.128q", args[0])}
			}
			return err
		},
	}
}
