package catalog

// Secret is a reference to a secret, never the secret: it can be printed, logged
// and marshalled without showing one. The loader resolves it where it is used.
type Secret struct {
	template string // as in the file: "${NOVITA_API_KEY}", or a literal
	file     string // absolute path
}

// IsZero reports whether no secret was configured.
func (s Secret) IsZero() bool { return s == Secret{} }

// String never shows a literal.
func (s Secret) String() string { return "[secret]" }
