package admission

import (
	"log/slog"
	"sync"
	"time"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// Keeper ends what nobody else ends: an open request of which nothing was heard for
// the settle timeout gets its event.
type Keeper struct {
	book *Book
	opt  KeeperOptions
	log  *slog.Logger

	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup
}

const (
	keeperBatch = 256
	keeperLooks = 8 // times within a timeout
)

// KeeperOptions are what a Keeper needs. Look may be nil.
type KeeperOptions struct {
	// Unsettle makes a request's event and puts it into the book.
	Unsettle func(quote string, last *billing.Record, at time.Time) error
	// Look is called before anything is given up: it settles what is written down
	// elsewhere.
	Look    func()
	Timeout time.Duration // nothing was heard of a request for so long
	Log     *slog.Logger
}

// Keep starts a Keeper.
func Keep(b *Book, o KeeperOptions) *Keeper {
	k := &Keeper{book: b, opt: o, log: o.Log, stop: make(chan struct{})}
	k.wg.Go(k.work)
	return k
}

func (k *Keeper) work() {
	tick := time.NewTicker(max(k.opt.Timeout/keeperLooks, time.Millisecond))
	defer tick.Stop()
	last := k.book.opt.now()
	for {
		select {
		case <-k.stop:
			return
		case <-tick.C:
			last = k.look(last)
		}
	}
}

// look ends what is silent, and returns the time. Where the last look is long ago,
// this process was stopped: it was deaf, and nobody silent.
func (k *Keeper) look(last time.Time) time.Time {
	now := k.book.opt.now()
	if now.Sub(last) > k.opt.Timeout/2 {
		k.log.Warn("admission log: this process stood still; open requests are given time anew", "for", now.Sub(last))
		k.book.Renew()
		return now
	}
	k.EndSilent(k.opt.Timeout)
	return now
}

// EndSilent ends every open request of which nothing was heard for so long. 0 is
// all of them: for when it is known that nothing will be heard any more.
func (k *Keeper) EndSilent(long time.Duration) {
	for looked := k.opt.Look == nil; ; {
		silent, err := k.book.Silent(long, keeperBatch)
		if err != nil {
			k.log.Error("admission log", "error", err)
		}
		if len(silent) > 0 && !looked {
			k.opt.Look()
			looked = true
			continue
		}
		for _, r := range silent {
			if err := k.opt.Unsettle(r.Quote, r.Last, time.Now()); err != nil {
				// It has been logged. Trying again would end in the same way.
				k.log.Error("admission log: an admitted request has no event", "request_id", r.ID, "error", err, "quote", r.Quote)
				k.book.Abandon(r.ID)
			}
		}
		if len(silent) < keeperBatch {
			return
		}
	}
}

// Close ends the Keeper; open requests stay open.
func (k *Keeper) Close() {
	k.once.Do(func() { close(k.stop) })
	k.wg.Wait()
}
