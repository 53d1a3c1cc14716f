// Package makerun tests what a newcomer does first: `make run`, the curl lines
// that it prints, and Ctrl-C.
package makerun
