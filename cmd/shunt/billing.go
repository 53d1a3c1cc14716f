package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/accesslog"
	"github.com/shunt-gateway/shunt/extproc/admission"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/billing/sinks"
	"github.com/shunt-gateway/shunt/extproc/outbox"
)

// accounts are what makes every admitted request end in one event: the log of
// admissions, the ledger that settles them, and the outbox that feeds the sinks.
type accounts struct {
	book   *admission.Book
	ledger *billing.Ledger
	// journal is nil where none is configured.
	journal *accesslog.Journal
	keeper  *admission.Keeper
	outbox  *outbox.Outbox
	sinks   []outbox.Sink
}

// billingDir is the admission log's directory in data_dir.
const billingDir = "billing"

// startBilling opens the admission log, the sinks, and what is between them.
func (a *app) startBilling(_ context.Context, c *catalog.Catalog) error {
	d := c.Billing.Durability
	dir := filepath.Join(c.DataDir, billingDir)
	if err := makeDirs(dir); err != nil {
		return err
	}
	if err := a.makeJournal(c); err != nil {
		return err
	}
	name, err := outboxName(dir)
	if err != nil {
		return err
	}
	all, err := a.openSinks(c)
	if err != nil {
		return err
	}
	o := admission.Options{Dir: dir, Flush: d.Flush, MaxBytes: d.Outbox.MaxBytes, Log: a.log}
	if d.Outbox.OnFull == catalog.OnFullDropOldest {
		o.OnFull = admission.DropOldest
	}
	book, err := admission.Open(o)
	if err != nil {
		return environmentError{errors.Join(err, closeSinks(context.Background(), all))}
	}
	ledger := billing.NewLedger(a.log, book)
	ledger.OnSettled(a.telemetry.Settled)
	b := &accounts{book: book, ledger: ledger, sinks: all}
	keep := admission.KeeperOptions{Unsettle: a.unsettle(ledger), Timeout: d.SettleTimeout, Log: a.log}
	if d.Journal.Path != "" {
		b.journal = accesslog.StartJournal(accesslog.JournalConfig{
			Path: d.Journal.Path, Rotate: d.Journal.Rotate, Requests: journalled{book, a}, Settle: a.settleLate(ledger), Log: a.log,
		})
		keep.Look = b.journal.Look
	}
	b.keeper = admission.Keep(book, keep)
	b.outbox = outbox.Start(outbox.Options{
		JS: a.state.JetStream(), Prefix: c.State.Prefix, Instance: name, Replicas: c.State.Replicas,
		Tries: d.Outbox.Tries, SettleTimeout: d.SettleTimeout, Book: book, Sinks: all, Alone: c.State.Embedded(), Log: a.log,
	})
	a.accounts = b
	a.up("billing", func(ctx context.Context) error {
		if a.envoyGone.Load() {
			a.accounts.keeper.EndSilent(0)
		}
		return a.accounts.stop(ctx)
	})
	return nil
}

// stop ends billing when nobody settles any more: events first go where they can
// go within ctx, the others stay in the log.
func (b *accounts) stop(ctx context.Context) error {
	b.keeper.Close()
	if b.journal != nil {
		b.journal.Close()
	}
	return errors.Join(b.outbox.Close(ctx), closeSinks(ctx, b.sinks), b.book.Close(ctx))
}

func closeSinks(ctx context.Context, all []outbox.Sink) error {
	var errs []error
	for _, s := range all {
		if err := s.Close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("sink %s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}

// openSinks opens all sinks or none.
func (a *app) openSinks(c *catalog.Catalog) ([]outbox.Sink, error) {
	var all []outbox.Sink
	for i, s := range c.Billing.Sinks {
		one, err := a.openSink(s)
		if err != nil {
			err = fmt.Errorf("billing.sinks[%d]: %w", i, err)
			return nil, environmentError{errors.Join(err, closeSinks(context.Background(), all))}
		}
		all = append(all, one)
	}
	return all, nil
}

// openSink opens one sink. A file stands beside this instance and gets its events;
// the others are shared by all instances on one NATS.
func (a *app) openSink(s catalog.Sink) (outbox.Sink, error) {
	open, err := sinks.Open(&s, resolve, a.log)
	if err != nil {
		return outbox.Sink{}, err
	}
	scope := outbox.All
	if s.File != "" {
		scope = outbox.Own
	}
	target := s.Place()
	if s.HTTP != nil {
		target = s.HTTP.URL // its query may tell two receivers apart
	}
	return outbox.Sink{Name: sinkID(target), Place: s.Place(), Scope: scope, Sink: open}, nil
}

// sinkID is a sink's name in the outbox: a sink with the same target finds its
// place again, whatever else changes in the configuration.
func sinkID(target string) string {
	sum := sha256.Sum256([]byte(target))
	return hex.EncodeToString(sum[:8])
}

// outboxName is this instance's name in NATS. It belongs to the log of admissions
// and stays when the host gets another name.
func outboxName(dir string) (string, error) {
	path := filepath.Join(dir, "outbox.name")
	name, err := os.ReadFile(path)
	if err == nil && len(name) > 0 {
		return strings.TrimSpace(string(name)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", environmentError{fmt.Errorf("read the name of the outbox: %w", err)}
	}
	fresh := strings.ToLower(rand.Text()[:16])
	if err := os.WriteFile(path, []byte(fresh+"\n"), 0o600); err != nil {
		return "", environmentError{fmt.Errorf("write the name of the outbox: %w", err)}
	}
	return fresh, nil
}

// sinkNames says where events go, for people.
func sinkNames(c *catalog.Catalog) string {
	var names []string
	for _, s := range c.Billing.Sinks {
		names = append(names, s.Place())
	}
	return strings.Join(names, ", ")
}
