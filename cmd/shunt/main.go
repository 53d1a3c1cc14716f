// Command shunt routes OpenAI-style requests to providers, beside an Envoy.
package main

import (
	"os"
	"runtime/debug"

	"github.com/shunt-gateway/shunt/envoy/runner"
)

func main() {
	runner.GuardMain()
	if os.Getenv("GOGC") == "" {
		// What lives long is the catalog, a few megabytes; requests make garbage that
		// is small beside any machine's memory.
		debug.SetGCPercent(400)
	}
	os.Exit(Main())
}
