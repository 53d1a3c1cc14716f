package conformance

import "strings"

// Placeholder is the endpoint of every provider in the suite's catalogs.
const Placeholder = "http://127.0.0.1:1"

// WithEndpoints returns a catalog of the suite with endpoint's URLs in the place
// of placeholders. There, each provider stands on a line of its own.
func WithEndpoints(yaml []byte, endpoint func(slug string) string) []byte {
	lines := strings.Split(string(yaml), "\n")
	for i, line := range lines {
		slug, rest, ok := strings.Cut(line, ":")
		if ok && strings.Contains(rest, `"`+Placeholder+`"`) {
			lines[i] = strings.Replace(line, Placeholder, endpoint(strings.TrimSpace(slug)), 1)
		}
	}
	return []byte(strings.Join(lines, "\n"))
}
