// Package leak finds the goroutines that a package's tests leave behind.
package leak

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/goleak"
)

// patience bounds the wait for goroutines that are about to end. goleak's own, half a
// second, is too short where other packages' tests take the processors.
const patience = 60 * time.Second

// Check is for a TestMain: os.Exit(leak.Check(m.Run())). It returns code, or 1 where
// all tests passed and a goroutine goes on.
func Check(code int) int {
	if code != 0 {
		return code
	}
	var err error
	for begun := time.Now(); time.Since(begun) < patience; {
		if err = goleak.Find(); err == nil { // it waits itself, between its looks
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}
