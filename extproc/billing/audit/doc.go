// Package audit reads billing events back: it checks that every amount follows from
// its event's own figures, adds events up, and tells how an amount came about.
//
// It is a second implementation on purpose. It knows docs/billing.md and nothing of
// the code that makes events, and computes in fractions where that code computes in
// decimals, so that a mistake in one shows in the other.
package audit
