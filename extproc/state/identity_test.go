package state

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/test/certs"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := certs.New(t)
	o := lone(t)
	o.TLSConfig = ca.Server(t, ca.Issue(t, "server", "127.0.0.1"), tls.RequireAndVerifyClientCert)
	o.TLSTimeout, o.AllowNonTLS = 5, false
	srv, _ := startNATS(t, o)

	good := options(t, "tls://"+srv.Addr().String())
	mine := ca.Issue(t, "client")
	good.State.TLS = catalog.StateTLS{CA: ca.File, Cert: mine.Cert, Key: mine.Key}
	s := open(t, good)
	current(t, s)
	set(t, s, "u", "x")
	want(t, s, "u", "x")

	stranger := certs.New(t)
	theirs := stranger.Issue(t, "client")
	var opened sync.WaitGroup
	for name, identity := range map[string]catalog.StateTLS{
		"no certificate":           {CA: ca.File},
		"a stranger's certificate": {CA: ca.File, Cert: theirs.Cert, Key: theirs.Key},
		"another authority":        {CA: stranger.File, Cert: mine.Cert, Key: mine.Key},
		"the system's authorities": {Cert: mine.Cert, Key: mine.Key},
	} {
		bad := good
		bad.State.TLS, bad.DataDir = identity, t.TempDir()
		opened.Go(func() {
			s, err := Open(t.Context(), bad)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			defer closeState(t, s)
			if s.Health().Connected {
				t.Errorf("%s: connected", name)
			}
		})
	}
	opened.Wait()
	for _, identity := range []catalog.StateTLS{{CA: "/nowhere/ca.pem"}, {CA: good.State.TLS.Key}, {CA: ca.File, Cert: theirs.Cert, Key: good.State.TLS.Key}} {
		bad := good
		bad.State.TLS = identity
		if s, err := Open(t.Context(), bad); err == nil {
			closeState(t, s)
			t.Errorf("%+v was accepted", identity)
		} else if !strings.Contains(err.Error(), "state.tls") {
			t.Errorf("%+v: the error does not say where: %v", identity, err)
		}
	}
}

// permitted are the subjects that docs/state.md lists.
func permitted(prefix string) []string {
	var list []string
	for _, b := range []string{"_prefs", "_sticky", "_keys"} {
		stream := "KV_" + prefix + b
		list = append(list, "$KV."+prefix+b+".>")
		for _, op := range []string{"INFO", "CREATE", "UPDATE", "MSG.GET"} {
			list = append(list, "$JS.API.STREAM."+op+"."+stream)
		}
		if b == "_keys" {
			continue
		}
		for _, op := range []string{"CREATE", "DELETE", "MSG.NEXT"} {
			list = append(list, "$JS.API.CONSUMER."+op+"."+stream+".>")
		}
	}
	return list
}

// accounts makes a server that knows users by signed credentials, and credentials for
// one of them.
func accounts(t *testing.T) (o *server.Options, credentials []byte) {
	t.Helper()
	pair := func(kp nkeys.KeyPair, err error) (nkeys.KeyPair, string) {
		if err != nil {
			t.Fatal(err)
		}
		public, err := kp.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return kp, public
	}
	sign := func(c interface {
		Encode(nkeys.KeyPair) (string, error)
	}, kp nkeys.KeyPair) string {
		token, err := c.Encode(kp)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	operator, operatorID := pair(nkeys.CreateOperator())
	_, systemID := pair(nkeys.CreateAccount())
	account, accountID := pair(nkeys.CreateAccount())
	user, userID := pair(nkeys.CreateUser())

	oc := jwt.NewOperatorClaims(operatorID)
	oc.SystemAccount = systemID
	trusted, err := jwt.DecodeOperatorClaims(sign(oc, operator))
	if err != nil {
		t.Fatal(err)
	}
	ac := jwt.NewAccountClaims(accountID)
	ac.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	resolver := &server.MemAccResolver{}
	for id, token := range map[string]string{accountID: sign(ac, operator), systemID: sign(jwt.NewAccountClaims(systemID), operator)} {
		if err := resolver.Store(id, token); err != nil {
			t.Fatal(err)
		}
	}
	o = lone(t)
	o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{trusted}, resolver, systemID
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	uc := jwt.NewUserClaims(userID)
	uc.Pub.Allow.Add(permitted("shunt")...)
	uc.Sub.Allow.Add("_INBOX.>")
	credentials, err = jwt.FormatUserConfig(sign(uc, account), seed)
	if err != nil {
		t.Fatal(err)
	}
	return o, credentials
}

// Credentials are read again at every connection: an operator replaces the file, and
// nothing needs a restart.
func TestCredentials(t *testing.T) {
	t.Parallel()
	server, credentials := accounts(t)
	_, url := startNATS(t, server)
	_, strangers := accounts(t)
	o := options(t, url)
	o.State.Credentials = filepath.Join(t.TempDir(), "shunt.creds")
	if err := os.WriteFile(o.State.Credentials, strangers, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, o)
	if s.Health().Connected {
		t.Error("connected with a stranger's credentials")
	}
	if err := os.WriteFile(o.State.Credentials, credentials, 0o600); err != nil {
		t.Fatal(err)
	}
	current(t, s)
	set(t, s, "u", "x")
	want(t, s, "u", "x")
	if err := s.Preferences().Delete(t.Context(), "u"); err != nil {
		t.Error(err)
	}
	s.Sticky().Record(testKey(1), "novita", time.Now())
	eventually(t, "stickiness is written", func() bool { return s.Counters().StickyWritten == 1 })
	if err := s.Sticky().SetTTL(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	if _, err := s.CallerKey(t.Context(), []byte("own")); err != nil {
		t.Error(err)
	}
}
