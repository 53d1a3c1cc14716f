package catalog

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"unique"
)

// Secret is a reference to a secret: a text with ${NAME}s in it, or a file. It
// can be printed, logged and marshalled without showing a literal, also as a
// field of something else. Two Secrets are == if they say the same.
//
// fmt shows the unexported fields of nested values without asking them, and
// follows one pointer where a verb does not fit its value. So the text sits behind
// two.
type Secret struct {
	outer unique.Handle[innerSecret]
}

type innerSecret struct {
	inner unique.Handle[secretText]
}

type secretText struct {
	template string // as in the file: "${NOVITA_API_KEY}", or a literal
	file     string // absolute path
}

const hidden = "[secret]"

// Errors that callers may tell apart; what Resolve returns wraps them.
var (
	ErrSecretUnset   = errors.New("is not set")
	ErrSecretEmpty   = errors.New("is empty")
	ErrSecretControl = errors.New("contains a line break or another control character")
)

func newSecret(template, file string) Secret {
	return Secret{unique.Make(innerSecret{unique.Make(secretText{template, file})})}
}

// IsZero reports whether no secret was configured.
func (s Secret) IsZero() bool { return s == Secret{} }

func (s Secret) text() secretText {
	if s.IsZero() {
		return secretText{}
	}
	return s.outer.Value().inner.Value()
}

var (
	envReference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
	bareVariable = regexp.MustCompile(`^\$[A-Za-z_][A-Za-z0-9_]*$`)
)

// Env returns the names of the environment variables that it refers to, in
// order, each once.
func (s Secret) Env() []string {
	var names []string
	seen := make(map[string]bool)
	for _, m := range envReference.FindAllStringSubmatch(s.text().template, -1) {
		if !seen[m[1]] {
			seen[m[1]] = true
			names = append(names, m[1])
		}
	}
	return names
}

// EnvOnly returns the variable's name if the secret is exactly one ${NAME}, so
// that another program can be told to read it itself.
func (s Secret) EnvOnly() (name string, ok bool) {
	t := s.text().template
	m := envReference.FindStringSubmatch(t)
	if m == nil || m[0] != t {
		return "", false
	}
	return m[1], true
}

// File returns the absolute path of the file that holds it, or "".
func (s Secret) File() string { return s.text().file }

// literal reports whether a part of the secret itself stands in the
// configuration, and the text without that part.
func (s Secret) literal() (blanked string, has bool) {
	var b strings.Builder
	rest := s.text().template
	for rest != "" {
		m := envReference.FindStringIndex(rest)
		if m == nil {
			m = []int{len(rest), len(rest)}
		}
		if m[0] > 0 {
			has = true
			b.WriteByte(0) // stands for any literal
		}
		b.WriteString(rest[m[0]:m[1]])
		rest = rest[m[1]:]
	}
	return b.String(), has
}

// Resolve returns the secret itself. getenv is like os.LookupEnv, readFile like
// os.ReadFile; one line break at a file's end is not part of the secret. The zero
// Secret resolves to "". Errors name the variable or the file, never show a value,
// and wrap ErrSecretUnset, ErrSecretEmpty, ErrSecretControl or readFile's error.
func (s Secret) Resolve(getenv func(string) (string, bool), readFile func(string) ([]byte, error)) (string, error) {
	t := s.text()
	if s.IsZero() {
		return "", nil
	}
	if t.file != "" {
		data, err := readFile(t.file)
		if err != nil {
			return "", fmt.Errorf("secret file %s: %w", t.file, err)
		}
		v := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
		if err := checkSecret(v); err != nil {
			return "", fmt.Errorf("secret file %s %w", t.file, err)
		}
		return v, nil
	}
	var unset string
	v := envReference.ReplaceAllStringFunc(t.template, func(ref string) string {
		name := ref[2 : len(ref)-1]
		v, ok := getenv(name)
		if !ok && unset == "" {
			unset = name
		}
		return v
	})
	if unset != "" {
		return "", fmt.Errorf("environment variable %s %w", unset, ErrSecretUnset)
	}
	if err := checkSecret(v); err != nil {
		return "", fmt.Errorf("%s %w", s.source(), err)
	}
	return v, nil
}

// source says where the secret comes from.
func (s Secret) source() string {
	env := s.Env()
	switch len(env) {
	case 0:
		return "the secret in the configuration"
	case 1:
		return "environment variable " + env[0]
	}
	return "the secret made of environment variables " + strings.Join(env, ", ")
}

// checkSecret refuses what would end a header and begin another.
func checkSecret(v string) error {
	switch {
	case strings.TrimSpace(v) == "" && !hasControl(v):
		return ErrSecretEmpty
	case hasControl(v):
		return ErrSecretControl
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// String shows that there is a secret, or "" if there is none.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return hidden
}

// GoString is String: %#v shows no more than %v.
func (s Secret) GoString() string { return s.String() }

// Format writes String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText returns String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns String as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// LogValue returns String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
