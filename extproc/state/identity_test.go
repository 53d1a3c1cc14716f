package state

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
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
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, dir string) *authority {
	t.Helper()
	a := &authority{key: newKey(t), file: filepath.Join(dir, "ca.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// issue writes name.pem and name.key.
func (a *authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(filepath.Dir(a.file), name)
	writePEM(t, base+".pem", "CERTIFICATE", der)
	writePEM(t, base+".key", "PRIVATE KEY", secret)
	return base + ".pem", base + ".key"
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir())
	serverCert, serverKey := ca.issue(t, "server")
	pair, err := tls.LoadX509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	o := lone(t)
	o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	o.TLSTimeout, o.AllowNonTLS = 5, false
	srv, _ := startNATS(t, o)

	good := options(t, "tls://"+srv.Addr().String())
	good.State.TLS.CA = ca.file
	good.State.TLS.Cert, good.State.TLS.Key = ca.issue(t, "client")
	s := open(t, good)
	current(t, s)
	set(t, s, "u", "x")
	want(t, s, "u", "x")

	stranger := newAuthority(t, t.TempDir())
	cert, key := stranger.issue(t, "client")
	var opened sync.WaitGroup
	for name, identity := range map[string]catalog.StateTLS{
		"no certificate":           {CA: ca.file},
		"a stranger's certificate": {CA: ca.file, Cert: cert, Key: key},
		"another authority":        {CA: stranger.file, Cert: good.State.TLS.Cert, Key: good.State.TLS.Key},
		"the system's authorities": {Cert: good.State.TLS.Cert, Key: good.State.TLS.Key},
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
	for _, identity := range []catalog.StateTLS{{CA: "/nowhere/ca.pem"}, {CA: good.State.TLS.Key}, {CA: ca.file, Cert: cert, Key: good.State.TLS.Key}} {
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
