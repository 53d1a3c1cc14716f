package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/shunt-gateway/shunt/extproc/billing/audit"
	"github.com/shunt-gateway/shunt/extproc/outbox"
)

// deadCommand is about events that a sink did not take.
func deadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "dead-letters",
		Aliases: []string{"dead"},
		Short:   "list, show and redrive events that a sink did not take",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("billing dead-letters: name one of list, show, redrive")
		},
	}
	cmd.AddCommand(deadListCommand(), deadShowCommand(), deadRedriveCommand())
	return cmd
}

// deadFlags say which dead letters of which shunt.
type deadFlags struct {
	configFlags
	sink string
}

func (f *deadFlags) add(cmd *cobra.Command) {
	f.configFlags.add(cmd)
	cmd.Flags().StringVar(&f.sink, "sink", "", "only those of this sink: its name, or a part of its place")
}

// each calls show for every dead letter that is meant, oldest first.
func (f *deadFlags) each(cmd *cobra.Command, ids []string, show func(*outbox.DeadLetter) error) error {
	c, err := f.load()
	if err != nil {
		return err
	}
	for after := uint64(0); ; {
		var list []outbox.DeadLetter
		q := url.Values{"sink": {f.sink}, "id": ids, "after": {strconv.FormatUint(after, 10)}}
		if err := control(cmd.Context(), c, http.MethodGet, "/dead-letters", q, &list); err != nil || len(list) == 0 {
			return err
		}
		for i := range list {
			after = list[i].Number
			if err := show(&list[i]); err != nil {
				return err
			}
		}
	}
}

func deadListCommand() *cobra.Command {
	var flags deadFlags
	list := listLetters
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list dead letters, oldest first",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return list(cmd, &flags) },
	}
	flags.add(cmd)
	cmd.Flags().BoolFunc("json", "one JSON object a line, with the event in it", when(func() { list = listJSON }))
	return cmd
}

func listLetters(cmd *cobra.Command, f *deadFlags) error {
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	n := 0
	err := f.each(cmd, nil, func(l *outbox.DeadLetter) error {
		if n++; n == 1 {
			_, _ = fmt.Fprintln(table, "NUMBER\tSINCE\tEVENT\tSINK\tTRIES\tERROR")
		}
		_, err := fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%d\t%s\n", l.Number, l.At.UTC().Format(time.DateTime),
			audit.Clean(l.ID), audit.Clean(l.Place), l.Tries, audit.Clean(l.Error))
		return err
	})
	if err == nil && n == 0 {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "no dead letters")
	}
	return errors.Join(err, table.Flush())
}

func listJSON(cmd *cobra.Command, f *deadFlags) error {
	out := json.NewEncoder(cmd.OutOrStdout())
	return f.each(cmd, nil, func(l *outbox.DeadLetter) error { return out.Encode(l) })
}

func deadShowCommand() *cobra.Command {
	var flags deadFlags
	cmd := &cobra.Command{
		Use:   "show ID|NUMBER…",
		Short: "tell why an event is a dead letter, and what is in it",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			n := 0
			err := flags.each(cmd, ids, func(l *outbox.DeadLetter) error { n++; return showLetter(cmd.OutOrStdout(), l) })
			if err == nil && n == 0 {
				err = inputError{fmt.Errorf("no dead letter %.128q", ids)}
			}
			return err
		},
	}
	flags.add(cmd)
	return cmd
}

func showLetter(w io.Writer, l *outbox.DeadLetter) error {
	_, err := fmt.Fprintf(w, "dead letter %d, since %s\n  sink %s (%s)\n  given up after %d tries: %s\n\n%s\n\n", l.Number, l.At.UTC().Format(time.RFC3339),
		audit.Clean(l.Sink), audit.Clean(l.Place), l.Tries, audit.Clean(l.Error), l.Event)
	if err != nil {
		return err
	}
	e, err := audit.Parse([]byte(l.Event))
	if err != nil {
		_, err = fmt.Fprintf(w, "WRONG: %v\n", err)
		return err
	}
	return audit.WriteStory(w, e)
}

func deadRedriveCommand() *cobra.Command {
	var flags deadFlags
	var wait time.Duration
	all := false
	cmd := &cobra.Command{
		Use:   "redrive [ID|NUMBER…]",
		Short: "offer dead letters to their sinks once more",
		Long: "redrive offers dead letters to the sink that did not take them, and to no other, and removes those that it takes.\n" +
			"It exits 1 if one was not taken; that one stays a dead letter.",
		RunE: func(cmd *cobra.Command, ids []string) error {
			if len(ids) == 0 && flags.sink == "" && !all {
				return errors.New("redrive which? Name ids or numbers, or --sink, or --all")
			}
			return redriveLetters(cmd, &flags, ids, wait)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every dead letter")
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait for a receiver that is away")
	return cmd
}

func redriveLetters(cmd *cobra.Command, f *deadFlags, ids []string, wait time.Duration) error {
	c, err := f.load()
	if err != nil {
		return err
	}
	delivered, failed := 0, 0
	for after := uint64(0); ; {
		var list []redriven
		q := url.Values{"sink": {f.sink}, "id": ids, "after": {strconv.FormatUint(after, 10)}, "wait": {wait.String()}}
		if err := control(cmd.Context(), c, http.MethodPost, "/dead-letters/redrive", q, &list); err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
		for _, l := range list {
			after = max(after, l.Number)
			became := "delivered"
			if delivered++; l.Error != "" {
				delivered, failed, became = delivered-1, failed+1, audit.Clean(l.Error)
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%d %s %s: %s\n", l.Number, audit.Clean(l.ID), audit.Clean(l.Place), became); err != nil {
				return err
			}
		}
	}
	switch {
	case failed > 0:
		return inputError{fmt.Errorf("%d delivered, %d not taken", delivered, failed)}
	case delivered == 0 && len(ids) > 0:
		return inputError{fmt.Errorf("no dead letter %.128q", ids)}
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d delivered\n", delivered)
	return err
}
