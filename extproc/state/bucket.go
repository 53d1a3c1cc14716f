package state

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/extproc/streams"
)

// bucket is a JetStream key-value bucket, as `nats kv` and other clients know it
// (ADR-8): stream KV_name, subjects $KV.name.key. It is made from the stream itself
// because a bucket made the usual way is read from any replica, which may be behind
// (ADR-8's direct get); here a read asks the leader.
type bucket struct {
	js     jetstream.JetStream
	name   string
	prefix string // of subjects
	config func() jetstream.StreamConfig
	stream atomic.Pointer[jetstream.Stream] // nil: not seen yet
	seen   chan struct{}                    // closed when stream is set
}

func newBucket(js jetstream.JetStream, name string, config func() jetstream.StreamConfig) *bucket {
	return &bucket{js: js, name: name, prefix: "$KV." + name + ".", config: config, seen: make(chan struct{})}
}

// value is a bucket's answer for one key.
type value struct {
	data     []byte // nil where deleted or never there
	revision uint64 // 0: never there
}

var errNoBucket = errors.New("the bucket was not reached yet")

// The headers of ADR-8.
const (
	headerOperation = "KV-Operation" // DEL, PURGE; else a value
	headerMarker    = "Nats-Marker-Reason"
	headerRollup    = "Nats-Rollup"
)

// get returns the newest value of a key. An error means that NATS could not be asked.
func (b *bucket) get(ctx context.Context, key string) (value, error) {
	stream := b.stream.Load()
	if stream == nil {
		return value{}, errNoBucket
	}
	m, err := (*stream).GetLastMsgForSubject(ctx, b.prefix+key)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return value{}, nil
	}
	if err != nil {
		return value{}, fmt.Errorf("read from bucket %s: %w", b.name, err)
	}
	if isDeletion(m.Header) {
		return value{revision: m.Sequence}, nil
	}
	return value{m.Data, m.Sequence}, nil
}

func isDeletion(h nats.Header) bool {
	return len(h) > 0 && (h.Get(headerOperation) != "" || h.Get(headerMarker) != "")
}

// errChanged means that a key no longer has the revision that was expected.
var errChanged = errors.New("the key was changed in between")

// put stores a value if the key still has this revision and returns the new one.
func (b *bucket) put(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	m := &nats.Msg{Subject: b.prefix + key, Data: data}
	ack, err := b.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(revision))
	var refused *jetstream.APIError
	if errors.As(err, &refused) && (refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return 0, errChanged
	}
	if err != nil {
		return 0, fmt.Errorf("write to bucket %s: %w", b.name, err)
	}
	return ack.Sequence, nil
}

// purge deletes a key with its history and returns the marker's revision.
func (b *bucket) purge(ctx context.Context, key string) (uint64, error) {
	m := nats.NewMsg(b.prefix + key)
	m.Header.Set(headerOperation, "PURGE")
	m.Header.Set(headerRollup, "sub")
	ack, err := b.js.PublishMsg(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("delete from bucket %s: %w", b.name, err)
	}
	return ack.Sequence, nil
}

// ensure makes the bucket if it is not there, brings it up to what the configuration
// says, and returns what it is now.
func (b *bucket) ensure(ctx context.Context) (*jetstream.StreamInfo, error) {
	want := b.config()
	want.Name, want.Subjects = "KV_"+b.name, []string{b.prefix + ">"}
	stream, err := streams.Ensure(ctx, b.js, want, merge)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", b.name, err)
	}
	if b.stream.Swap(&stream) == nil {
		close(b.seen)
	}
	return stream.CachedInfo(), nil
}

// merge is a streams.Merge: correctness and the configuration need these.
func merge(have, want jetstream.StreamConfig) (merged jetstream.StreamConfig, differs bool) {
	merged = have
	change(&merged.AllowDirect, want.AllowDirect, &differs)
	change(&merged.AllowRollup, want.AllowRollup, &differs)
	change(&merged.MaxMsgsPerSubject, want.MaxMsgsPerSubject, &differs)
	change(&merged.MaxAge, want.MaxAge, &differs)
	if merged.MaxAge > 0 && merged.Duplicates > merged.MaxAge {
		change(&merged.Duplicates, merged.MaxAge, &differs)
	}
	if have.MaxMsgSize >= 0 && have.MaxMsgSize < want.MaxMsgSize {
		change(&merged.MaxMsgSize, want.MaxMsgSize, &differs)
	}
	if have.Replicas < want.Replicas {
		change(&merged.Replicas, want.Replicas, &differs)
	}
	return merged, differs
}

func change[T comparable](field *T, to T, differs *bool) {
	if *field != to {
		*field, *differs = to, true
	}
}
