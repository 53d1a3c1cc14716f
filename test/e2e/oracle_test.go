package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
)

// shown is what a client must see of a provider's stream, by a reading of SSE and
// JSON that shares nothing with the filter's: all of it, but for the usage chunk that
// only shunt asked for, and the provider's name in the first event with an object.
func shown(stream, provider string, strip bool) string {
	var out strings.Builder
	named := provider == ""
	for _, event := range splitEvents(stream) {
		object, at := objectOf(event)
		if strip && isUsageChunk(object) {
			continue
		}
		if !named && object != nil {
			named = true
			event = event[:at+1] + `"provider":"` + provider + `",` + event[at+1:]
			if len(object) == 0 {
				event = strings.Replace(event, `",`, `"`, 1)
			}
		}
		out.WriteString(event)
	}
	return out.String()
}

var blankLine = regexp.MustCompile(`\n\r?\n`)

// splitEvents cuts behind blank lines; nothing gets lost.
func splitEvents(s string) []string {
	var out []string
	for {
		at := blankLine.FindStringIndex(s)
		if at == nil {
			if s != "" {
				out = append(out, s)
			}
			return out
		}
		out = append(out, s[:at[1]])
		s = s[at[1]:]
	}
}

// objectOf is the JSON object in an event's data, and where in the event it begins;
// nil if there is none.
func objectOf(event string) (object map[string]any, at int) {
	var data []string
	at = -1
	pos := 0
	for _, line := range strings.SplitAfter(event, "\n") {
		if rest, ok := strings.CutPrefix(line, "data:"); ok {
			if brace := strings.IndexByte(rest, '{'); at < 0 && brace >= 0 && strings.TrimSpace(rest[:brace]) == "" {
				at = pos + len("data:") + brace
			}
			data = append(data, strings.TrimRight(rest, "\r\n"))
		}
		pos += len(line)
	}
	if json.Unmarshal([]byte(strings.Join(data, "\n")), &object) != nil {
		return nil, -1
	}
	return object, at
}

func isUsageChunk(object map[string]any) bool {
	choices, ok := object["choices"].([]any)
	usage, _ := object["usage"].(map[string]any)
	return (ok || object["choices"] == nil) && len(choices) == 0 && usage != nil && object["error"] == nil
}
