package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc"
	"github.com/shunt-gateway/shunt/policy"
)

// explainCommand prints the decision for a request, made by the function that
// routes (CMD-4).
func explainCommand() *cobra.Command {
	var flags configFlags
	var headers []string
	var path string
	show := writeText
	cmd := &cobra.Command{
		Use:   "explain [request.json|-]",
		Short: "show how a request would be routed, and why",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := readRequest(cmd.InOrStdin(), args)
			if err != nil {
				return err
			}
			h, err := splitHeaders(headers)
			if err != nil {
				return err
			}
			c, err := flags.load()
			if err != nil {
				return err
			}
			w, err := world(c, resolveOrGuess)
			if err != nil {
				return err
			}
			e, no := extproc.Explain(w, path, h, body, time.Now())
			if err := show(cmd.OutOrStdout(), explained{e, (*refusal)(no)}); err != nil {
				return err
			}
			if no != nil {
				return inputError{fmt.Errorf("the request is refused: %d %s: %s", no.Status, no.Code, no.Message)}
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "a request header, as 'name: value'; may be repeated")
	cmd.Flags().StringVar(&path, "path", "/v1/chat/completions", "the request's path")
	cmd.Flags().BoolFunc("json", "print JSON, of a refusal too", when(func() { show = writeJSONExplanation }))
	return cmd
}

// explained is what became of a request. A refused one has an explanation if it could
// be read.
type explained struct {
	*policy.Explanation
	Refusal *refusal `json:"refusal,omitempty"`
}

// refusal is a policy.Error as JSON.
type refusal struct {
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Param   string `json:"param,omitempty"`
	Message string `json:"message"`
}

// writeText leaves the refusal to the error message.
func writeText(w io.Writer, e explained) error {
	if e.Explanation == nil {
		return nil
	}
	return e.WriteText(w)
}

func writeJSONExplanation(w io.Writer, e explained) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(e)
}

func readRequest(stdin io.Reader, args []string) ([]byte, error) {
	if len(args) == 0 || args[0] == "-" {
		body, err := io.ReadAll(stdin)
		if err != nil {
			return nil, inputError{fmt.Errorf("read the request from standard input: %w", err)}
		}
		return body, nil
	}
	body, err := os.ReadFile(args[0])
	if err != nil {
		return nil, inputError{fmt.Errorf("read the request: %w", err)}
	}
	return body, nil
}

func splitHeaders(in []string) ([]extproc.Header, error) {
	var out []extproc.Header
	for _, h := range in {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, fmt.Errorf("-H %q: write it as 'name: value'", h)
		}
		out = append(out, extproc.Header{Name: strings.ToLower(strings.TrimSpace(name)), Value: strings.TrimSpace(value)})
	}
	return out, nil
}

// resolveOrGuess lets a decision be explained where the secrets are not: an edge's
// headers then count for nothing.
func resolveOrGuess(s catalog.Secret) (string, error) {
	if value, err := resolve(s); err == nil {
		return value, nil
	}
	return rand.Text(), nil
}
