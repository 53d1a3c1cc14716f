package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/accesslog"
	"github.com/shunt-gateway/shunt/extproc/admission"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// journalDir is the directory in data_dir of what Envoy writes down, under `shunt
// run`. The journal is a file of Envoy's, flushed every journalFlush: what Envoy may
// lose when it is killed.
const (
	journalDir   = "journal"
	journalFlush = 50 * time.Millisecond
)

// makeJournal makes the journal's file before Envoy does, which would let everybody
// read it. Beside an Envoy that somebody else runs it may be another user's.
func (a *app) makeJournal(c *catalog.Catalog) error {
	path := c.Billing.Durability.Journal.Path
	if !a.flags.journal {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return environmentError{fmt.Errorf("billing.journal: make its directory: %w", err)}
	}
	if err := accesslog.Private(path); err != nil {
		return environmentError{fmt.Errorf("billing.journal: %w", err)}
	}
	return nil
}

// settleLate settles a request whose end was not told in time. Nothing is learned of
// its provider from it: it may be long ago.
func (a *app) settleLate(l *billing.Ledger) func(context.Context, *billing.Quote, *billing.Record) error {
	return func(ctx context.Context, q *billing.Quote, r *billing.Record) error {
		a.vitals.unsettled(q.ID)
		return l.Settle(ctx, q, r)
	}
}

// void takes a request back that Envoy gave up before it knew that it was admitted.
func (a *app) void(id string) { a.voidIn(a.accounts.book, id) }

func (a *app) voidIn(b *admission.Book, id string) {
	a.vitals.unsettled(id)
	b.Void(id)
}

// journalled are the requests of a book, as the journal needs them.
type journalled struct {
	*admission.Book
	app *app
}

// Void implements accesslog.Requests.
func (j journalled) Void(id string) { j.app.voidIn(j.Book, id) }
