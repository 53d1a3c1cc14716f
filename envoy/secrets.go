package envoy

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/shunt-gateway/shunt/catalog"
)

// SecretSource says where Envoy finds a provider's key: the value itself over
// SDS, or a reference in a rendered file (SEC-2).
type SecretSource func(*catalog.Provider) (*corev3.DataSource, error)

// InlineSecrets delivers resolved keys. Only SDS to our own Envoy, and `render
// --with-secrets`, may use it.
func InlineSecrets(resolve func(catalog.Secret) (string, error)) SecretSource {
	return func(p *catalog.Provider) (*corev3.DataSource, error) {
		value, err := resolve(p.APIKey)
		if err != nil {
			return nil, fmt.Errorf("providers.%s.api_key: %w", p.Slug, err)
		}
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: value}}, nil
	}
}

// ReferencedSecrets writes what the configuration says instead of what it means:
// an environment variable or a file, which Envoy itself reads.
func ReferencedSecrets() SecretSource {
	return func(p *catalog.Provider) (*corev3.DataSource, error) {
		if f := p.APIKey.File(); f != "" {
			return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: f}}, nil
		}
		if env, ok := p.APIKey.EnvOnly(); ok {
			return &corev3.DataSource{Specifier: &corev3.DataSource_EnvironmentVariable{EnvironmentVariable: env}}, nil
		}
		return nil, fmt.Errorf("providers.%s.api_key: a literal or composed key cannot be written as a reference; "+
			"use ${NAME} or {file: …}, or ask for --with-secrets", p.Slug)
	}
}

func secretName(p *catalog.Provider) string { return "provider/" + p.Slug }

func secrets(s *scene, source SecretSource) ([]Named, error) {
	var out []Named
	for i, p := range s.providers {
		if p.APIKey.IsZero() {
			continue
		}
		data, err := source(p)
		if err != nil && i >= len(s.Providers) {
			continue // it leaves, and may have taken its key along
		}
		if err != nil {
			return nil, err
		}
		out = append(out, &tlsv3.Secret{
			Name: secretName(p),
			Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: data}},
		})
	}
	return out, nil
}
