package sinks

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/test/certs"
)

// secured is a receiver that asks clients for a certificate: where it is, as the
// beginning of a sink's configuration, and how many events it has.
type secured struct {
	text string
	has  func() int
}

// receivers starts one of each kind with a server's certificate.
func receivers(t *testing.T, c *tls.Config) map[string]secured {
	g := &ingest{events: make(map[string]map[string]any)}
	web := httptest.NewUnstartedServer(g)
	web.TLS, web.Config.ErrorLog = c.Clone(), log.New(io.Discard, "", 0)
	web.StartTLS()
	t.Cleanup(web.Close)

	n := natsServer(t, t.TempDir(), 0, func(o *server.Options) { o.TLSConfig, o.TLSTimeout = c.Clone(), 10 })
	inside, err := nats.Connect("", nats.InProcessServer(n))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(inside.Close)
	sub, err := inside.SubscribeSync("usage")
	if err != nil {
		t.Fatal(err)
	}
	must(inside.Flush())

	k, brokers := kafka(t, kfake.TLS(c.Clone()))
	return map[string]secured{
		"http": {`http: {url: "` + web.URL + `"`, g.count},
		"nats": {`nats: {url: "tls://` + n.Addr().String() + `", subject: usage, ack: server`, func() int { n, _, _ := sub.Pending(); return n }},
		"kafka": {"kafka: {" + brokers, func() int {
			info := k.TopicInfo("usage")
			if info == nil {
				return 0
			}
			sum := 0
			for p := range 3 {
				sum += int(k.PartitionInfo("usage", int32(p)).HighWatermark)
			}
			return sum
		}},
	}
}

// Each end shows who it is, and sees who the other is.
func TestTLS(t *testing.T) {
	ours, others := certs.New(t), certs.New(t)
	server, client := ours.Issue(t, "server", "127.0.0.1", "localhost"), ours.Issue(t, "client")
	stranger := others.Issue(t, "stranger")
	asked := receivers(t, ours.Server(t, server, tls.RequireAndVerifyClientCert))
	elsewhere := receivers(t, ours.Server(t, ours.Issue(t, "elsewhere", "elsewhere.example", "127.0.0.2"), tls.NoClientCert))
	authority := "ca: " + ours.File
	mine := ", cert: " + client.Cert + ", key: " + client.Key
	for kind := range asked {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			to := asked[kind]
			s, _ := open(t, configured(t, to.text+", tls: {"+authority+mine+"}}"), nil)
			deliver(t, s, 0, 3)
			eventually(t, "three events", func() bool { return to.has() == 3 })
			t.Cleanup(func() {
				if n := to.has(); n != 3 {
					t.Errorf("%d events", n)
				}
			})
			for name, text := range map[string]string{
				"whom nobody trusts":           to.text + "}",
				"of another authority":         to.text + ", tls: {ca: " + others.File + mine + "}}",
				"of another host":              elsewhere[kind].text + ", tls: {" + authority + "}}",
				"that asks for a certificate":  to.text + ", tls: {" + authority + "}}",
				"that asks for another client": to.text + ", tls: {" + authority + ", cert: " + stranger.Cert + ", key: " + stranger.Key + "}}",
			} {
				t.Run("a receiver "+name, func(t *testing.T) {
					t.Parallel()
					if kind == "kafka" && name == "whom nobody trusts" {
						text = strings.TrimSuffix(text, "}") + ", tls: {}}"
					}
					awayFor(t, text)
				})
			}
		})
	}
}

// awayFor opens a sink that cannot reach its receiver: it says so, and waits.
func awayFor(t *testing.T, text string) {
	t.Helper()
	s, lines := openWithin(t, configured(t, text), nil, time.Second)
	if n, ok := s.(*natsSink); ok {
		n.timeout = time.Second
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Deliver(ctx, message(9)) }()
	eventually(t, "an error in the log", func() bool {
		since, _ := s.(billing.Patient).Outage()
		return !since.IsZero() && strings.Contains(lines.String(), "cannot deliver")
	})
	cancel()
	if err := <-done; err == nil || errors.Is(err, billing.ErrRefused) {
		t.Errorf("%v", err)
	}
}

// A NATS credentials file: a user that the server knows, and one that it does not.
func TestNATSCredentials(t *testing.T) {
	operator, account := must2(nkeys.CreateOperator()), must2(nkeys.CreateAccount())
	public := func(k nkeys.KeyPair) string { return must2(k.PublicKey()) }
	ac := jwt.NewAccountClaims(public(account))
	resolver := &server.MemAccResolver{}
	must(resolver.Store(public(account), must2(ac.Encode(operator))))
	srv := natsServer(t, t.TempDir(), 0, func(o *server.Options) {
		o.JetStream = false
		o.TrustedKeys, o.AccountResolver = []string{public(operator)}, resolver
	})
	credentials := func(name string, signer nkeys.KeyPair) string {
		user := must2(nkeys.CreateUser())
		text := must2(jwt.FormatUserConfig(must2(jwt.NewUserClaims(public(user)).Encode(signer)), must2(user.Seed())))
		path := filepath.Join(t.TempDir(), name)
		must(os.WriteFile(path, text, 0o600))
		return `nats: {url: "` + srv.ClientURL() + `", subject: usage, ack: server, credentials: ` + path + `}`
	}
	s, lines := open(t, configured(t, credentials("good.creds", account)), nil)
	deliver(t, s, 0, 3)
	if strings.Contains(lines.String(), "SEED") {
		t.Errorf("logged a seed: %s", lines)
	}
	awayFor(t, credentials("bad.creds", must2(nkeys.CreateAccount())))
}

func must2[T any](v T, err error) T {
	must(err)
	return v
}
