package state

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/shunt-gateway/shunt/catalog"
)

// link tells those who need a connection when there is one.
type link struct {
	mu    sync.Mutex
	alive context.Context // nil: no connection; else cancelled when it is lost
	lost  context.CancelCauseFunc
	found chan struct{} // closed when there is a connection
}

var errLost = errors.New("the connection to NATS was lost")

func newLink() *link { return &link{found: make(chan struct{})} }

func (l *link) up() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alive != nil {
		l.lost(errLost) // a reconnect whose loss was not reported
	} else {
		close(l.found)
	}
	l.alive, l.lost = context.WithCancelCause(context.Background())
}

func (l *link) down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alive == nil {
		return
	}
	l.lost(errLost)
	l.alive, l.found = nil, make(chan struct{})
}

// wait returns a context that ends with ctx or with the connection that there is,
// as soon as there is one.
func (l *link) wait(ctx context.Context) (context.Context, context.CancelFunc, error) {
	for {
		l.mu.Lock()
		alive, found := l.alive, l.found
		l.mu.Unlock()
		if alive != nil {
			both, cancel := context.WithCancelCause(ctx)
			stop := context.AfterFunc(alive, func() { cancel(errLost) })
			return both, func() { stop(); cancel(nil) }, nil
		}
		select {
		case <-found:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

const (
	dialTimeout   = 2 * time.Second // of one attempt, and of Open's wait for the first
	reconnectWait = 250 * time.Millisecond
	// A connection over which nothing comes back is given up after two pings.
	pingInterval = 5 * time.Second
)

// dial connects, to srv where that is not nil. It goes on trying for ever; that the
// first try fails is no error.
func dial(ctx context.Context, o Options, srv *server.Server, l *link) (*nats.Conn, error) {
	first := make(chan struct{}, 1)
	up := func(c *nats.Conn) {
		if srv == nil {
			o.Log.Info("connected to NATS", "server", c.ConnectedUrlRedacted())
		}
		l.up()
		select {
		case first <- struct{}{}:
		default:
		}
	}
	opts := []nats.Option{
		nats.Name(strings.TrimSpace("shunt " + o.Instance)),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // credentials are replaced without restarting us
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2),
		// Without a connection, a change fails at once: it does not wait in a buffer to
		// be made after its caller was told that it failed.
		nats.ReconnectBufSize(-1),
		nats.ConnectHandler(up), nats.ReconnectHandler(up),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			l.down()
			if err != nil { // nil: we closed it
				o.Log.Warn("lost the connection to NATS", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			o.Log.Warn("NATS reports an error", "error", err)
		}),
	}
	url := ""
	if srv != nil {
		opts = append(opts, nats.InProcessServer(srv))
	} else {
		url = strings.Join(o.State.Servers(), ",")
		opts = append(opts, identity(o.State)...)
	}
	c, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	wait, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	select {
	case <-first:
	case <-wait.Done():
		o.Log.Warn("NATS does not answer yet; going on without it", "error", c.LastError())
	}
	return c, nil
}

// identity is who we are to an external NATS, and whom we believe. The files are
// read again at every connection.
func identity(s catalog.State) []nats.Option {
	var opts []nats.Option
	if s.Credentials != "" {
		opts = append(opts, nats.UserCredentials(s.Credentials))
	}
	var cert func() (tls.Certificate, error)
	var roots func() (*x509.CertPool, error)
	if s.TLS.Cert != "" {
		cert = func() (tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(s.TLS.Cert, s.TLS.Key)
			if err != nil {
				return c, fmt.Errorf("state.tls: load the certificate %s: %w", s.TLS.Cert, err)
			}
			return c, nil
		}
	}
	if s.TLS.CA != "" {
		roots = func() (*x509.CertPool, error) { return readRoots(s.TLS.CA) }
	}
	if cert != nil || roots != nil {
		opts = append(opts, nats.ClientTLSConfig(cert, roots))
	}
	return opts
}

func readRoots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("state.tls.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("state.tls.ca: no certificate in %s", file)
	}
	return pool, nil
}
