package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"
)

// stopTime is how long the end of Serve waits for answers that are breaking off.
const stopTime = time.Second

// Serve serves p on ln until ctx is cancelled; then it breaks off every answer,
// closes ln and returns nil. Any other end is an error. It blocks.
func Serve(ctx context.Context, ln net.Listener, p *Provider) error {
	return serve(ctx, p, func(s *http.Server) error { return s.Serve(ln) })
}

// ServeTLS is Serve with this certificate over TLS: HTTP/2, or HTTP/1.1, as the
// client asks by ALPN.
func ServeTLS(ctx context.Context, ln net.Listener, p *Provider, cert tls.Certificate) error {
	return serve(ctx, p, func(s *http.Server) error {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		return s.ServeTLS(ln, "", "")
	})
}

func serve(ctx context.Context, p *Provider, run func(*http.Server) error) error {
	base, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(errStopped)
	server := &http.Server{
		Handler:           p,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	ended := make(chan error, 1)
	go func() { ended <- run(server) }()
	select {
	case err := <-ended:
		return errors.Join(err, server.Close())
	case <-ctx.Done():
	}
	stop(errStopped) // every handler waits on its request's context, which ends here
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if err := server.Shutdown(bounded); err != nil {
		_ = server.Close() // connections that never sent a request
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
