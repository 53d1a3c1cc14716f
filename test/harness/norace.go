//go:build !race

package harness

// Race says that tests, and the shunt that they run, have the race detector in them,
// and are slow.
const Race = false
