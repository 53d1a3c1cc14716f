package accesslog

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

func split(chunks ...string) (lines []string, long int, torn bool) {
	var s splitter
	for _, c := range chunks {
		s.feed([]byte(c), func(b []byte) { lines = append(lines, string(b)) }, func() { long++ })
	}
	return lines, long, s.torn()
}

func TestSplit(t *testing.T) {
	huge := strings.Repeat("x", longestLine+1)
	for name, c := range map[string]struct {
		in   []string
		want []string
		long int
		torn bool
	}{
		"whole":             {in: []string{"a\nbc\n"}, want: []string{"a", "bc"}},
		"in pieces":         {in: []string{"a", "b\nc", "", "d", "\n"}, want: []string{"ab", "cd"}},
		"empty ones":        {in: []string{"\n\n", "a\n\n"}, want: []string{"a"}},
		"torn":              {in: []string{"a\nb"}, want: []string{"a"}, torn: true},
		"long":              {in: []string{huge + "\na\n"}, want: []string{"a"}, long: 1},
		"long in pieces":    {in: []string{huge[:9], huge, huge, "\na\n"}, want: []string{"a"}, long: 1},
		"long at the end":   {in: []string{"a\n" + huge}, want: []string{"a"}, long: 1, torn: true},
		"as long as it may": {in: []string{huge[1:], "\na\n"}, want: []string{huge[1:], "a"}},
	} {
		if lines, long, torn := split(c.in...); !slices.Equal(lines, c.want) || long != c.long || torn != c.torn {
			t.Errorf("%s: %.60q, %d long, torn %v", name, lines, long, torn)
		}
	}
}

// Whatever stands in the file, in whatever pieces it is read: nothing panics, every
// line that is found makes an event, and the pieces make no difference.
func FuzzLines(f *testing.F) {
	for _, s := range []string{endLine, attemptLine, cutLine, goneLine} {
		f.Add([]byte(s+"\n"), uint16(7))
		f.Add([]byte(s[:len(s)/2]+s+"\n"+s), uint16(100))
	}
	f.Add([]byte("\x00\x00\n{\"k\":\"end\",\"id\":\"a\"}\r\n\n"), uint16(1))
	f.Add(bytes.Repeat([]byte("{\"k\":"), longestLine/4), uint16(4096))
	f.Fuzz(func(t *testing.T, data []byte, piece uint16) {
		whole, long, torn := split(string(data))
		var chunks []string
		for rest := data; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			chunks = append(chunks, string(rest[:n]))
			rest = rest[n:]
		}
		if l, n, tn := split(chunks...); !slices.Equal(l, whole) || n != long || tn != torn {
			t.Fatalf("in pieces of %d: %q, %d, %v; at once %q, %d, %v", piece+1, l, n, tn, whole, long, torn)
		}
		for _, text := range whole {
			id, quick := endID([]byte(text))
			l, err := readLine([]byte(text))
			if err != nil {
				continue
			}
			if quick && l.kind == names.LineEnd && !strings.Contains(text, `\`) && l.id != id && strings.Count(text, `"id"`) == 1 {
				t.Fatalf("%s is of %q, and at a glance of %q", text, l.id, id)
			}
			useLine(t, &l)
		}
	})
}

// useLine makes of a line what can be made of it.
func useLine(t *testing.T, l *line) {
	t.Helper()
	if l.id == "" || len(l.id) > longestID {
		t.Fatalf("id %q", l.id)
	}
	e := l.entry()
	attemptOf(e)
	r, _ := recordOf(e)
	if r.Duration < 0 || r.TTFT < 0 || r.AnswerBytes < 0 {
		t.Fatalf("%+v", r)
	}
	event := billing.Settle(&billing.Quote{ID: l.id}, r)
	if _, err := event.Message(); err != nil {
		t.Fatal(err)
	}
	if event.Data.Amount.IsNegative() {
		t.Fatalf("%+v", event)
	}
}
