package state

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startServer runs NATS in this process, with JetStream's files below dataDir and
// without a listener of any kind.
func startServer(ctx context.Context, dataDir string, log *slog.Logger) (*server.Server, error) {
	dir := filepath.Join(dataDir, "nats")
	if err := os.MkdirAll(dir, 0o700); err != nil { // SEC-3
		return nil, fmt.Errorf("make the directory of the embedded NATS: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the embedded NATS private: %w", err)
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "shunt",
		DontListen: true,
		NoSigs:     true, // signals are the program's
		JetStream:  true,
		StoreDir:   dir,
		// An acknowledged change survives a power cut. Streams that can do without
		// say so themselves (persist mode async).
		SyncAlways:             true,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, fmt.Errorf("configure the embedded NATS: %w", err)
	}
	logger := &serverLog{log: log.With("component", "nats")}
	srv.SetLoggerV2(logger, false, false, false)
	go srv.Start()
	for !srv.ReadyForConnections(50 * time.Millisecond) {
		if why := logger.fatal.Load(); why != nil {
			srv.Shutdown()
			return nil, fmt.Errorf("start the embedded NATS in %s: %s", dir, *why)
		}
		if ctx.Err() != nil {
			srv.Shutdown()
			return nil, fmt.Errorf("start the embedded NATS in %s: %w", dir, context.Cause(ctx))
		}
	}
	return srv, nil
}

// serverLog hands on what an operator should know. What the server thinks fatal
// does not end the process.
type serverLog struct {
	log   *slog.Logger
	fatal atomic.Pointer[string]
}

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *serverLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *serverLog) Debugf(string, ...any)           {}
func (l *serverLog) Tracef(string, ...any)           {}

func (l *serverLog) Fatalf(format string, v ...any) {
	why := fmt.Sprintf(format, v...)
	l.fatal.Store(&why)
	l.log.Error(why)
}
