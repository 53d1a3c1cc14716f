package catalog

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// SecretUse is a secret and the place in the configuration that asks for it.
type SecretUse struct {
	Secret    Secret
	Path      string // providers.novita.api_key
	File      string // the configuration's name, for faults
	Line, Col int
}

// Secrets returns every secret of the configuration, in the file's order.
func (c *Catalog) Secrets() []SecretUse { return c.secrets }

// CheckFiles resolves every secret, reads the key set of identity.jwt, and returns a
// fault for each that cannot be had, or nil. The functions are those of Secret.Resolve.
func (c *Catalog) CheckFiles(getenv func(string) (string, bool), readFile func(string) ([]byte, error)) Faults {
	var list faultList
	for _, use := range c.secrets {
		if _, err := use.Secret.Resolve(getenv, readFile); err != nil {
			list.file = use.File
			list.add(pos{use.Line, use.Col}, use.Path, err.Error(), "")
		}
	}
	if j := c.Identity.JWT; j != nil && j.JWKSFile != "" {
		if _, err := j.KeySet(readFile); err != nil {
			list.file = c.keySet.File
			list.add(pos{c.keySet.Line, c.keySet.Col}, c.keySet.Path, err.Error(), "")
		}
	}
	return list.sorted()
}

// secretKeys are the keys whose values are secrets.
var secretKeys = map[string]bool{"api_key": true, "admin_token": true, "value": true, "token": true, "password": true}

var secretFileKeys = &keys{
	names: []string{"file"}, index: map[string]int{"file": 0}, required: 1, secret: true,
}

// secret reads a string with ${NAME}s, or {file: path}. No fault shows any of it.
func (d *decoder) secret(v value) (Secret, bool) {
	s, ok := Secret{}, false
	switch v.Kind {
	case yaml.MappingNode:
		d.object(v, secretFileKeys, func(_ string, v value) {
			var file string
			if file, ok = d.filename(v); ok {
				s = newSecret("", file)
			}
		})
	case yaml.ScalarNode:
		var template string
		if template, ok = d.text(v); ok {
			s, ok = d.template(v, template)
		}
	default:
		d.fault(v, "must be a string or {file: path}, not %s", describe(v.Node))
	}
	if !ok {
		return Secret{}, false
	}
	d.cat.secrets = append(d.cat.secrets, SecretUse{
		Secret: s, Path: v.place.String(), File: d.src.Name, Line: v.at.line, Col: v.at.col,
	})
	return s, true
}

// template checks a secret's text.
func (d *decoder) template(v value, text string) (Secret, bool) {
	rest := envReference.ReplaceAllLiteralString(text, "")
	switch {
	case strings.TrimSpace(text) == "":
		d.fault(v, "must not be empty")
	case hasControl(text):
		d.fault(v, "must not contain a line break or another control character")
	case bareVariable.MatchString(text):
		d.fault(v, "a reference to an environment variable needs braces: ${NAME}")
	case strings.Contains(rest, "${"):
		d.fault(v, "has a ${ that does not begin a reference such as ${NAME}: put such a secret into a variable or a file")
	default:
		s := newSecret(text, "")
		if _, literal := s.literal(); literal {
			d.literals[v.Node] = s
		}
		return s, true
	}
	return Secret{}, false
}
