package extproc

import (
	"sync/atomic"

	"github.com/shunt-gateway/shunt/extproc/identity"
	"github.com/shunt-gateway/shunt/policy"
)

// World is what requests are decided by, all of it from one configuration. It is
// immutable.
type World struct {
	Snapshot *policy.Snapshot
	Identity *identity.Reader
	Budget   *Budget // of the snapshot's catalog; nil: chains are never shortened
}

// Live is the world of the moment. A request loads it once and reads that one to its
// end, so a reload never shows it two catalogs.
type Live struct{ p atomic.Pointer[World] }

// Load returns the newest world, nil before the first Store.
func (l *Live) Load() *World { return l.p.Load() }

// Store makes w the world of requests that begin from now on.
func (l *Live) Store(w *World) { l.p.Store(w) }
