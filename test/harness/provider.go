package harness

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

// Provider is a fake provider that serves.
type Provider struct {
	*demo.Provider
	Addr string // host:port
	URL  string // its base: http://host:port plus Config.BasePath
}

// StartProvider serves a fake provider on a free port until the test ends.
func StartProvider(t testing.TB, c demo.Config) *Provider {
	t.Helper()
	return startProvider(t, c, nil)
}

// StartTLSProvider is StartProvider with TLS.
func StartTLSProvider(t testing.TB, c demo.Config, cert tls.Certificate) *Provider {
	t.Helper()
	return startProvider(t, c, &cert)
}

func startProvider(t testing.TB, c demo.Config, cert *tls.Certificate) *Provider {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for provider %s: %v", c.Name, err)
	}
	p := &Provider{Provider: demo.New(c), Addr: l.Addr().String()}
	p.URL = "http://" + p.Addr + c.BasePath
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		if cert != nil {
			done <- demo.ServeTLS(ctx, l, p.Provider, *cert)
			return
		}
		done <- demo.Serve(ctx, l, p.Provider)
	}()
	if cert != nil {
		p.URL = "https://" + p.Addr + c.BasePath
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("provider %s: %v", c.Name, err)
		}
	})
	return p
}

// Server is a provider whose every answer a test writes by itself.
type Server struct {
	Addr string // host:port

	server *http.Server
}

// Serve serves h on a free port until Close: over TLS, HTTP/2 included, with a
// certificate.
func Serve(h http.Handler, cert *tls.Certificate) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: l.Addr().String(), server: &http.Server{Handler: h, ReadHeaderTimeout: patience, ErrorLog: quiet}}
	go func() {
		if cert != nil {
			s.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
			_ = s.server.ServeTLS(l, "", "")
			return
		}
		_ = s.server.Serve(l)
	}()
	return s, nil
}

// Close ends the server and every answer.
func (s *Server) Close() { _ = s.server.Close() }

// StartServer is Serve until the test ends.
func StartServer(t testing.TB, h http.Handler, cert *tls.Certificate) *Server {
	t.Helper()
	s, err := Serve(h, cert)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// quiet is for what a server finds worth a line and a test has caused.
var quiet = log.New(io.Discard, "", 0)
