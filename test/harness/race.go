//go:build race

package harness

// Race: the tests, and the shunt that they run, are built with the race detector, and
// slow.
const Race = true
