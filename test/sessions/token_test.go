package sessions

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"testing"
	"time"
)

// signer makes tokens as an identity provider would, and as attackers would.
type signer struct{ key *rsa.PrivateKey }

func newSigner(t testing.TB) *signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{key}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwks is the public half, as a JSON Web Key Set.
func (s *signer) jwks() string {
	return `{"keys":[{"kty":"RSA","alg":"RS256","use":"sig","kid":"k1","n":"` + b64(s.key.N.Bytes()) +
		`","e":"` + b64(big.NewInt(int64(s.key.E)).Bytes()) + `"}]}`
}

type claims map[string]any

// good are claims that hold for the tests' configuration.
func good(user string) claims {
	return claims{"iss": "https://id.example", "aud": "shunt", "sub": user, "exp": time.Now().Add(time.Hour).Unix()}
}

// with returns the claims with one changed; nil takes it away.
func (c claims) with(name string, value any) claims {
	out := claims{}
	for k, v := range c {
		out[k] = v
	}
	if out[name] = value; value == nil {
		delete(out, name)
	}
	return out
}

func encode(t testing.TB, alg string, c claims) string {
	t.Helper()
	head, err := json.Marshal(map[string]string{"alg": alg, "typ": "JWT", "kid": "k1"})
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b64(head) + "." + b64(body)
}

func (s *signer) token(t testing.TB, c claims) string {
	t.Helper()
	text := encode(t, "RS256", c)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(sig)
}

// unsigned claims that no signature is needed.
func unsigned(t testing.TB, c claims) string { return encode(t, "none", c) + "." }

// confused is signed with the public key, as if that were a shared secret.
func (s *signer) confused(t testing.TB, c claims) string {
	t.Helper()
	text := encode(t, "HS256", c)
	mac := hmac.New(sha256.New, s.key.N.Bytes())
	mac.Write([]byte(text))
	return text + "." + b64(mac.Sum(nil))
}
