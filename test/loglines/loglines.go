// Package loglines has a logger for tests that want to read what was logged.
package loglines

import (
	"bytes"
	"log/slog"
	"sync"
)

// Buffer keeps what is written to it, by several goroutines.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// New is a logger, and what it has written.
func New() (*slog.Logger, *Buffer) {
	b := &Buffer{}
	return slog.New(slog.NewTextHandler(b, nil)), b
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String is all that was written by now.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
