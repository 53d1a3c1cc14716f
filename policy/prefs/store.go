package prefs

import (
	"context"
	"errors"
)

// Revision names a stored version of a user's document. It grows with every
// change; 0: nothing was ever saved.
type Revision uint64

// What a Store's errors wrap.
var (
	// ErrConflict: others changed the same document again and again. To be answered
	// 409; the same call may succeed later.
	ErrConflict = errors.New("preferences were changed by others at the same time")
	// ErrUnavailable: the store cannot be reached. To be answered 503. Whether a
	// change that was on its way has happened is then not known.
	ErrUnavailable = errors.New("preferences are unavailable")
)

// Store keeps one document per user. A user is a keyed hash, never an id as the
// user's own system knows it (CACHE-4, BILL-6): 1 to 128 letters, digits, - and _.
// Its methods may be called by several goroutines at once.
type Store interface {
	// Get returns the user's document; the zero Document if nothing is saved. On one
	// instance, a Get that begins after an Update or Delete returned sees that
	// change. Errors wrap ErrUnavailable or are the context's.
	Get(ctx context.Context, user string) (Document, Revision, error)

	// Update replaces the user's document with what change makes of it, if nobody
	// else did so in between, else tries again a bounded number of times. So change
	// may be called more than once. Its error ends the Update and is returned as it
	// is; other errors wrap ErrConflict, ErrUnavailable or are the context's.
	Update(ctx context.Context, user string, change func(Document) (Document, error)) (Document, error)

	// Delete resets the user's document and removes its earlier versions. Errors wrap
	// ErrUnavailable or are the context's.
	Delete(ctx context.Context, user string) error
}
