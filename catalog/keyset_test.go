package catalog

import (
	"io/fs"
	"testing"
)

// CMD-3: a key set that cannot be used is a fault with its place, as a secret is.
func TestKeySet(t *testing.T) {
	c := parse(t, complete("identity:\n  jwt: {issuer: a, jwks: {file: jwks.json}}\n"))
	for text, want := range map[string]string{
		`{"keys":[{"kty":"RSA"}]}`:              "",
		"":                                      "key set /etc/shunt/jwks.json is not a JSON Web Key Set with at least one key",
		`{"keys":[]}`:                           "key set /etc/shunt/jwks.json is not a JSON Web Key Set with at least one key",
		`{"keys":[{"kty":"EC"},{"kty":"oct"}]}`: "key set /etc/shunt/jwks.json: keys[1] is symmetric (kty oct): use RSA, EC or OKP public keys",
	} {
		fs := c.CheckFiles(environment, func(string) ([]byte, error) { return []byte(text), nil })
		if want == "" {
			equal(t, text, len(fs), 0)
			continue
		}
		equal(t, text, fs, Faults{{File: "shunt.yaml", Line: 2, Col: 33, Path: "identity.jwt.jwks.file", Message: want}})
	}
	missing := c.CheckFiles(environment, func(string) ([]byte, error) { return nil, fs.ErrNotExist })
	equal(t, "missing", missing.Error(), "shunt.yaml:2:33: identity.jwt.jwks.file: key set /etc/shunt/jwks.json: file does not exist")
}
