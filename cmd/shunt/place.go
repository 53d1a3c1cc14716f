package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy"
)

// place is where a running shunt keeps its sockets and its key, private to the
// user (SEC-3).
type place struct {
	run string // directory of sockets
}

// maxSocketPath is what a Unix socket's name may be long, 108 bytes on Linux, less
// the file names below the directory.
const maxSocketPath = 108 - len("/envoy/admin.sock") - 1

// placeOf says where things are for a catalog. It makes nothing.
func placeOf(c *catalog.Catalog) place {
	run := filepath.Join(c.DataDir, "run")
	if len(run) > maxSocketPath {
		sum := sha256.Sum256([]byte(c.DataDir))
		run = filepath.Join(os.TempDir(), "shunt-"+hex.EncodeToString(sum[:8]))
	}
	return place{run: run}
}

func (p place) grpc() string    { return filepath.Join(p.run, "shunt.sock") }
func (p place) api() string     { return filepath.Join(p.run, "api.sock") }
func (p place) control() string { return filepath.Join(p.run, "control.sock") }
func (p place) envoy() string   { return filepath.Join(p.run, "envoy") }

// makeDirs makes the directories, or says what is wrong with one that is there.
func makeDirs(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return environmentError{fmt.Errorf("make the directory %s: %w", dir, err)}
		}
		info, err := os.Lstat(dir)
		if err != nil {
			return environmentError{fmt.Errorf("look at the directory %s: %w", dir, err)}
		}
		if !info.IsDir() || !ownedByUs(info) {
			return environmentError{fmt.Errorf("%s is not a directory of this user's", dir)}
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return environmentError{fmt.Errorf("make the directory %s private: %w", dir, err)}
		}
	}
	return nil
}

const callerKeyFile = "caller.key"

// callerKey is the key of the hashes that stand for callers. It is made once for a
// data_dir, so a caller keeps its name over restarts.
func callerKey(dataDir string) ([]byte, error) {
	path := filepath.Join(dataDir, callerKeyFile)
	key, err := os.ReadFile(path)
	if err == nil && len(key) == 32 {
		return key, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, environmentError{fmt.Errorf("read the caller key: %w", err)}
	}
	if err == nil {
		return nil, environmentError{fmt.Errorf("%s has %d bytes, not 32: restore it, or remove it and have all callers renamed", path, len(key))}
	}
	key = make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	if err := os.WriteFile(path, key, 0o600); err != nil {
		return nil, environmentError{fmt.Errorf("write the caller key: %w", err)}
	}
	return key, nil
}

// envoyOptions are what Envoy's configuration needs to know of this machine.
func envoyOptions(c *catalog.Catalog) (envoy.Options, error) {
	p := placeOf(c)
	o := envoy.Options{Socket: p.grpc(), APISocket: p.api(), Journal: c.Billing.Durability.Journal.Path}
	who := overTLS(c)
	if who == "" {
		return o, nil
	}
	ca, err := systemCertificates()
	if err != nil {
		return o, environmentError{fmt.Errorf("%s.endpoint is https: %w", who, err)}
	}
	o.CAFile = ca
	return o, nil
}

// overTLS is one of those that the system's certificates are needed for, "" if none is.
func overTLS(c *catalog.Catalog) string {
	for _, p := range c.Providers {
		if p.Endpoint.Scheme == "https" {
			return "providers." + p.Slug
		}
	}
	if t := c.Telemetry.OTLP; t != nil && t.Endpoint.Scheme == "https" && t.TLS.CA == "" {
		return "telemetry.otlp"
	}
	return ""
}

// systemCertificates finds the machine's certificate bundle: $SSL_CERT_FILE, then
// where the distributions keep it.
func systemCertificates() (string, error) {
	candidates := []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
	}
	if f := os.Getenv("SSL_CERT_FILE"); f != "" {
		candidates = []string{f}
	}
	for _, f := range candidates {
		if abs, err := filepath.Abs(f); err == nil {
			if _, err := os.Stat(abs); err == nil {
				return abs, nil
			}
		}
	}
	return "", fmt.Errorf("no certificate bundle at %v; install ca-certificates or set SSL_CERT_FILE", candidates)
}
