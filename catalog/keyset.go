package catalog

import (
	"encoding/json"
	"fmt"
)

// KeySet reads the public keys of JWKSFile. A symmetric key is refused: whoever could
// read Envoy's configuration could sign with it. readFile is like os.ReadFile.
func (j *JWT) KeySet(readFile func(string) ([]byte, error)) (string, error) {
	data, err := readFile(j.JWKSFile)
	if err != nil {
		return "", fmt.Errorf("key set %s: %w", j.JWKSFile, err)
	}
	var set struct {
		Keys []struct {
			Kty string `json:"kty"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil || len(set.Keys) == 0 {
		return "", fmt.Errorf("key set %s is not a JSON Web Key Set with at least one key", j.JWKSFile)
	}
	for i, k := range set.Keys {
		if k.Kty == "oct" {
			return "", fmt.Errorf("key set %s: keys[%d] is symmetric (kty oct): use RSA, EC or OKP public keys", j.JWKSFile, i)
		}
	}
	return string(data), nil
}
