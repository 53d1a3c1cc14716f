package catalog

import "time"

// Durability says what it takes to lose a billing event.
type Durability struct {
	// Flush is how often the admission log is flushed to the disk: what a crash of
	// the machine may cost. A crash of the process costs nothing. Default 20 ms.
	Flush time.Duration
	// SettleTimeout is how long nothing may be heard of an admitted request before
	// its event says unsettled. Default 60 s.
	SettleTimeout time.Duration
	Outbox        Outbox
	Journal       Journal
}

// Outbox bounds what waits for sinks.
type Outbox struct {
	MaxBytes int64  // on the disk. Default 1 GiB
	OnFull   OnFull // default OnFullBlock
	// Tries is how often one event is offered to one sink before it goes to the
	// dead letters. Default 20: about a quarter of an hour.
	Tries int
}

// OnFull is what happens when the outbox is full.
type OnFull uint8

// The choices.
const (
	OnFullBlock      OnFull = iota // no new requests are admitted: 503 overloaded
	OnFullDropOldest               // the oldest events are lost, loudly
)

const (
	longestFlush  = 10 * time.Second
	leastSettling = time.Second
	leastOutbox   = 1 << 20
	mostOutbox    = 1 << 50
	mostTries     = 1_000_000
)

func defaultDurability() Durability {
	return Durability{
		Flush: 20 * time.Millisecond, SettleTimeout: time.Minute,
		Outbox:  Outbox{MaxBytes: 1 << 30, Tries: 20},
		Journal: Journal{Rotate: defaultJournalRotation},
	}
}

// Heartbeat is how often Envoy reports a request that is still under way: often
// enough for two reports to go missing within SettleTimeout, and at most every 10 s.
func (d *Durability) Heartbeat() time.Duration { return min(d.SettleTimeout/4, 10*time.Second) }

var (
	outboxKeys = newKeys("max_bytes", "on_full", "tries")
	onFulls    = []choice[OnFull]{{"block", OnFullBlock}, {"drop_oldest", OnFullDropOldest}}
)

func (d *decoder) outbox(v value) {
	o := &d.cat.Billing.Durability.Outbox
	d.object(v, outboxKeys, func(key string, v value) {
		switch key {
		case "max_bytes":
			n, ok := d.size(v, mostOutbox)
			if ok && n < leastOutbox {
				d.fault(v, "%s is less than 1MiB", quote(v.Value))
				return
			}
			set(&o.MaxBytes)(n, ok)
		case "on_full":
			set(&o.OnFull)(choose(d, v, onFulls))
		case "tries":
			set(&o.Tries)(d.whole(v, mostTries))
		}
	})
}

func (d *decoder) settleTimeout(v value) (time.Duration, bool) {
	t, ok := d.duration(v, longest)
	if ok && t < leastSettling {
		d.fault(v, "%s is less than 1s", quote(v.Value))
		return 0, false
	}
	return t, ok
}
