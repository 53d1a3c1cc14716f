package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// go test ./extproc/openai -run '^$' -fuzz FuzzScan -fuzztime 1m -fuzzminimizetime 1x
// go test ./extproc/openai -run '^$' -fuzz FuzzRewrite -fuzztime 1m -fuzzminimizetime 1x

// verdict is a second, slow opinion of a body, by encoding/json.
type verdict int

const (
	good verdict = iota
	bad
	unsure // a key with U+FFFD: encoding/json does not say whether it was half a pair
)

func judge(body []byte) verdict {
	if !json.Valid(body) || !utf8.Valid(body) {
		return bad
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	type level struct {
		keys  map[string]bool // nil in an array
		value bool            // the next token is a value
	}
	var open []level
	for first := true; ; first = false {
		token, err := dec.Token()
		if err != nil {
			return good // the end
		}
		if first && token != json.Delim('{') {
			return bad
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			open = open[:len(open)-1]
			continue
		}
		if len(open) > 0 {
			if top := &open[len(open)-1]; top.keys != nil {
				if top.value = !top.value; top.value {
					key := token.(string)
					if strings.ContainsRune(key, utf8.RuneError) {
						return unsure
					}
					if top.keys[key] {
						return bad
					}
					top.keys[key] = true
					continue
				}
			}
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{keys: map[string]bool{}})
		case json.Delim('['):
			open = append(open, level{})
		}
		if len(open) > MaxDepth {
			return bad
		}
	}
}

// FuzzScan: Scan accepts what encoding/json accepts, less duplicate keys, depth,
// and text that is not UTF-8, and finds the same members.
func FuzzScan(f *testing.F) {
	for _, body := range fuzzBodies() {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		o, err := Scan(body)
		want := judge(body)
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			scan := err.(*ScanError)
			if want == good || scan.Offset < 0 || scan.Offset > len(body) || !utf8.ValidString(err.Error()) || len(err.Error()) > 600 {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		if want == bad {
			t.Fatal("accepted")
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatal(err)
		}
		if len(members) != o.Len() {
			t.Fatalf("%d members, not %d", o.Len(), len(members))
		}
		for m := range o.Members() {
			value, ok := o.Get(string(m.Key))
			if !ok || !bytes.Equal(value, members[string(m.Key)]) || !bytes.Equal(value, body[m.ValueStart:m.End]) {
				t.Fatalf("%q: %s, %v", m.Key, value, ok)
			}
			if text, kind := o.Text(string(m.Key)); kind == String {
				var want string
				if err := json.Unmarshal(value, &want); err != nil || text != want {
					t.Fatalf("%q: text %q, want %q, %v", m.Key, text, want, err)
				}
			}
		}
	})
}

// FuzzRewrite: the outcome is, byte for byte, what a naive rewriting of a list of
// members gives. script says which edits: see fuzzEdits.
func FuzzRewrite(f *testing.F) {
	for i, body := range fuzzBodies() {
		f.Add([]byte(body), []byte{byte(i), byte(3 * i), byte(7 * i), byte(11 * i), byte(i), 0, 1, byte(i), 2})
	}
	f.Fuzz(func(t *testing.T, body, script []byte) {
		o, err := Scan(body)
		if err != nil || len(script) > 64 {
			return
		}
		edits := fuzzEdits(&o, script)
		got := Rewrite(nil, &o, edits)
		if want := naiveRewrite(&o, edits); string(got) != want {
			t.Fatalf("%q\nedits %v\ngot  %q\nwant %q", body, edits, got, want)
		}
		after, err := Scan(got)
		if err != nil {
			t.Fatalf("edits %v made %q: %v", edits, got, err)
		}
		ask, asked := AskUsage(&after)
		final, err := Scan(Rewrite(nil, &after, []Edit{ask}))
		if err != nil {
			t.Fatal(err)
		}
		if again, asks := AskUsage(&final); !asks || again.op != opNone {
			t.Fatalf("asked (%v) and yet not: %q", asked, final.Raw())
		}
		if back := Rewrite(nil, &final, []Edit{UnaskUsage(&final)}); !json.Valid(back) {
			t.Fatalf("not JSON: %q", back)
		}
	})
}

// fuzzEdits reads three bytes an edit: what, of which member, to which name. Names
// are the body's own and a few more.
func fuzzEdits(o *Object, script []byte) []Edit {
	names := []string{"model", "stream_options", "new", "a", ""}
	for m := range o.Members() {
		if names = append(names, string(m.Key)); len(names) > 200 {
			break
		}
	}
	var edits []Edit
	for ; len(script) >= 3; script = script[3:] {
		key, to := names[int(script[1])%len(names)], names[int(script[2])%len(names)]
		switch script[0] % 4 {
		case 0:
			edits = append(edits, Set(key, fmt.Appendf(nil, `{"v": %d}`, script[2])))
		case 1:
			edits = append(edits, Remove(key))
		case 2:
			edits = append(edits, Rename(key, to))
		}
	}
	return edits
}

// naiveRewrite is Rewrite on a list of members with all their bytes.
func naiveRewrite(o *Object, edits []Edit) string {
	type entry struct {
		at                      int // in the body; -1: added
		key, text, space, value string
	}
	var list []entry
	raw := string(o.Raw())
	spans := slices.Collect(o.Members())
	for i, m := range spans {
		inner := raw[m.Start:m.ValueStart]
		quote := strings.LastIndexByte(inner, '"') + 1
		list = append(list, entry{i, string(m.Key), inner[:quote], inner[quote:], raw[m.ValueStart:m.End]})
	}
	find := func(key string) int {
		return slices.IndexFunc(list, func(e entry) bool { return e.key == key })
	}
	for _, e := range edits {
		i := find(e.key)
		switch {
		case e.op == opSet && i < 0:
			list = append(list, entry{-1, e.key, string(AppendString(nil, e.key)), ":", string(e.value)})
		case i < 0:
		case e.op == opSet:
			list[i].value = string(e.value)
		case e.op == opRemove, e.op == opRename && e.name != e.key && find(e.name) >= 0:
			list = slices.Delete(list, i, i+1)
		case e.op == opRename && e.name != e.key:
			list[i].key, list[i].text = e.name, string(AppendString(nil, e.name))
		}
	}
	var b strings.Builder
	if len(spans) == 0 {
		b.WriteString(raw[:strings.IndexByte(raw, '{')+1])
	} else {
		b.WriteString(raw[:spans[0].Start])
	}
	for i, e := range list {
		switch {
		case i == 0:
		case e.at < 0:
			b.WriteByte(',')
		default: // what stood behind the member before it
			before := list[i-1].at
			b.WriteString(raw[spans[before].End:spans[before+1].Start])
		}
		b.WriteString(e.text + e.space + e.value)
	}
	if len(spans) == 0 {
		b.WriteString(raw[strings.IndexByte(raw, '{')+1:])
	} else {
		b.WriteString(raw[spans[len(spans)-1].End:])
	}
	return b.String()
}

// fuzzBodies are starting points; what fuzzing finds is kept in testdata/fuzz.
func fuzzBodies() []string {
	return []string{
		`{}`,
		` { "model" : "m:fast" , "messages":[{"role":"user","content":"a\nb \u00e9 🙂"}],"stream":true } `,
		`{"mod\u0065l":1,"model":2}`,
		`{"a":"\ud83d","b":"\ud83d\ude42"}`,
		`{"\ud83d":1}`,
		"\xef\xbb\xbf{}",
		"{\"a\":\"\xff\"}",
		"{\"a\":\"\x00\"}",
		`{"a\u0000":1}{}`,
		`{"a":-0.5e+10,"b":01,"c":1e}`,
		`{"a":` + nested("[", "", "]", MaxDepth-1) + `}`,
		`{"a":` + nested("[", "", "]", MaxDepth) + `}`,
		nested(`{"a":`, "{}", "}", MaxDepth-1),
		`{"a":` + strings.Repeat("1234567890", 500) + `e` + strings.Repeat("9", 500) + `}`,
		`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":10,"a":11}`,
		`{"stream_options":{"x":1,"include_usage":false},"provider":{"order":["a"]},"model_id":"m"}`,
		`{"stream_options":null,"a":[true,false,null,{"b":[]}]}`,
		`{"stream_options":[],"":{"":{}}}`,
		string(chatBody(2000)),
	}
}
