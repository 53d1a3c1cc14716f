// Package billing turns what was quoted at admission and what Envoy reported at the
// end into one CloudEvent per request, and hands it to sinks.
//
// The path of a request through it: NewQuote fixes the prices when the request is
// admitted and AppendJSON puts them into Envoy's metadata; nothing stays here. When
// the request has ended, ParseQuote reads them back, Settle (a function of values)
// makes the Event, and a Ledger delivers it once to every Sink. docs/billing.md
// describes the event for those who consume it.
package billing
