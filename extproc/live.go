package extproc

import (
	"sync/atomic"

	"github.com/shunt-gateway/shunt/policy"
)

// Live is the snapshot that requests read. A request loads it once and reads that
// one to its end, so a reload never shows it two catalogs.
type Live struct {
	p atomic.Pointer[policy.Snapshot]
}

// Load returns the newest snapshot, nil before the first Store.
func (l *Live) Load() *policy.Snapshot { return l.p.Load() }

// Store makes s the snapshot of requests that begin from now on.
func (l *Live) Store(s *policy.Snapshot) { l.p.Store(s) }
