package envoy

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/shunt-gateway/shunt/catalog"
)

// SecretSource says where Envoy finds a secret: the value itself over SDS, or a
// reference in a rendered file (SEC-2). path is the secret's place in the
// configuration, for errors.
type SecretSource func(path string, s catalog.Secret) (*corev3.DataSource, error)

// InlineSecrets delivers resolved keys. Only SDS to our own Envoy, and `render
// --with-secrets`, may use it.
func InlineSecrets(resolve func(catalog.Secret) (string, error)) SecretSource {
	return func(path string, s catalog.Secret) (*corev3.DataSource, error) {
		value, err := resolve(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: value}}, nil
	}
}

// ReferencedSecrets writes what the configuration says instead of what it means:
// an environment variable or a file, which Envoy itself reads.
func ReferencedSecrets() SecretSource {
	return func(path string, s catalog.Secret) (*corev3.DataSource, error) {
		if f := s.File(); f != "" {
			return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: f}}, nil
		}
		if env, ok := s.EnvOnly(); ok {
			return &corev3.DataSource{Specifier: &corev3.DataSource_EnvironmentVariable{EnvironmentVariable: env}}, nil
		}
		return nil, fmt.Errorf("%s: a literal or composed secret cannot be written as a reference; "+
			"use ${NAME} or {file: …}, or ask for --with-secrets", path)
	}
}

func secretName(p *catalog.Provider) string { return "provider/" + p.Slug }

func secrets(s *scene, source SecretSource) ([]Named, error) {
	var out []Named
	for i, p := range s.providers {
		if p.APIKey.IsZero() {
			continue
		}
		data, err := source("providers."+p.Slug+".api_key", p.APIKey)
		if err != nil && i >= len(s.Providers) {
			continue // it leaves, and may have taken its key along
		}
		if err != nil {
			return nil, err
		}
		out = append(out, genericSecret(secretName(p), data))
	}
	more, err := otlpSecrets(s.Catalog, source)
	return append(out, more...), err
}

func genericSecret(name string, data *corev3.DataSource) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: data}}}
}
