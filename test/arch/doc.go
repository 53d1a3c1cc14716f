// Package arch holds the project's house rules as tests: which package may
// import which, how large a file and a function may be, what every package says
// of itself, what a test may not do without a reason, and that the pins of the
// build agree with each other.
package arch
