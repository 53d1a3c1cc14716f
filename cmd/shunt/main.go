// Command shunt routes OpenAI-style requests to providers, beside an Envoy.
package main

import (
	"os"

	"github.com/shunt-gateway/shunt/envoy/runner"
)

func main() {
	runner.GuardMain()
	os.Exit(Main())
}
