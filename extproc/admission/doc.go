// Package admission remembers on the local disk every request that was admitted,
// until its one event has reached every sink. It is what makes BILL-1 hold over
// crashes.
//
// record.go is the format of the log, store.go its files, book.go what is known of
// each request in memory, recover.go how the second is made from the first after a
// restart, and tidy.go how files go away again.
//
// A request's way through a Book: Admit (open) → Finish, once (ready) → Published →
// Delivered. Heard says that an open one is alive; Silent lists those of which
// nothing was heard for too long. Each step but Heard and Published is a record in
// the log, written with one write(2) before the call returns: a process that is
// killed loses none. The disk itself is flushed every Options.Flush.
package admission
