// Package health keeps what is known of every offer right now: how soon and how
// fast it answers, how it fails, and until when it is better left alone.
//
// It computes, and does nothing else: events and times are arguments, figures are
// results. There is no I/O, no goroutine, no clock. One goroutine owns a Table,
// feeds it events, and every so often takes the offers whose figures changed to
// where requests read them:
//
//	t := health.New(cat, cat.Routing.Health, instance)
//	t.Apply(&ev, now)                 // for each attempt that starts or ends
//	for _, c := range t.Changes(now)  // c.Offer, c.Figures
//
// Memory per offer is constant; see docs/health.md for what is measured and when an
// offer cools down.
package health
