package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func nested(open, inside, shut string, n int) string {
	return strings.Repeat(open, n) + inside + strings.Repeat(shut, n)
}

func TestScanAccepts(t *testing.T) {
	for name, body := range map[string]string{
		"empty object":         `{}`,
		"space everywhere":     " \t\r\n{ \"a\" : [ 1 , { } , [ ] , null ] \r\n, \"b\" :\ttrue } \n",
		"every escape":         `{"a":"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE42"}`,
		"NUL as an escape":     `{"a\u0000b":"\u0000"}`,
		"DEL and U+2028":       "{\"a\":\"\x7f\u2028\"}",
		"lone surrogate value": `{"a":"\ud83d","b":"\ude42\ud83d","c":"\ud83dx"}`,
		"numbers":              `{"a":[0,-0,0.0,-1.5e+10,1E-7,9e99999,10203]}`,
		"huge number":          `{"a":` + strings.Repeat("9", 100_000) + `.` + strings.Repeat("9", 1000) + `}`,
		"nested to the limit":  `{"a":` + nested("[", "", "]", MaxDepth-1) + `}`,
		"objects to the limit": nested(`{"a":`, "1", "}", MaxDepth),
		"same key, two levels": `{"a":{"a":[{"a":1},{"a":2}]},"b":{"a":1}}`,
		"keys apart by case":   `{"model":1,"Model":2}`,
		"empty key":            `{"":1}`,
		"keys of nine objects": `{"a":[` + strings.Repeat(`{"x":1,"y":2},`, 9) + `0]}`,
		"UTF-8 of every size":  `{"é":"é€🙂` + "\U0010ffff" + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if !json.Valid([]byte(body)) {
				t.Fatal("the case itself is wrong")
			}
			if _, err := Scan([]byte(body)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestScanRefuses(t *testing.T) {
	tests := []struct {
		name, body string
		err        error
		offset     int
	}{
		{"nothing", "", ErrSyntax, 0},
		{"only space", " \n", ErrSyntax, 2},
		{"byte order mark", "\xef\xbb\xbf{}", ErrSyntax, 0},
		{"byte order mark after space", " \xef\xbb\xbf{}", ErrSyntax, 1},
		{"UTF-16", "{\x00}\x00", ErrSyntax, 1},
		{"array", `[]`, ErrNotObject, 0},
		{"string", ` "a"`, ErrNotObject, 1},
		{"number", `-1`, ErrNotObject, 0},
		{"literal", `null`, ErrNotObject, 0},
		{"neither", `hello`, ErrSyntax, 0},
		{"trailing brace", `{}}`, ErrSyntax, 2},
		{"trailing value", `{} {}`, ErrSyntax, 3},
		{"trailing comma after", `{},`, ErrSyntax, 2},
		{"trailing NUL", "{}\x00", ErrSyntax, 2},
		{"leading NUL", "\x00{}", ErrSyntax, 0},
		{"form feed as space", "{\f}", ErrSyntax, 1},
		{"no-break space", "{\u00a0}", ErrSyntax, 1},
		{"ends in object", `{`, ErrSyntax, 1},
		{"ends in key", `{"a`, ErrSyntax, 3},
		{"ends after key", `{"a"`, ErrSyntax, 4},
		{"ends after colon", `{"a":`, ErrSyntax, 5},
		{"ends in value", `{"a":tr`, ErrSyntax, 7},
		{"ends in array", `{"a":[1`, ErrSyntax, 7},
		{"ends after backslash", `{"a":"\`, ErrSyntax, 6},
		{"ends in escape", `{"a":"\u00`, ErrSyntax, 6},
		{"comma at the end of an object", `{"a":1,}`, ErrSyntax, 7},
		{"comma at the end of an array", `{"a":[1,]}`, ErrSyntax, 8},
		{"comma at the start", `{,"a":1}`, ErrSyntax, 1},
		{"two commas", `{"a":[1,,2]}`, ErrSyntax, 8},
		{"no comma", `{"a":1 "b":2}`, ErrSyntax, 7},
		{"no colon", `{"a" 1}`, ErrSyntax, 5},
		{"key without quotes", `{a:1}`, ErrSyntax, 1},
		{"single quotes", `{'a':1}`, ErrSyntax, 1},
		{"number as key", `{1:1}`, ErrSyntax, 1},
		{"array shut as object", `{"a":[1}`, ErrSyntax, 7},
		{"object shut as array", `{"a":{"b":1]`, ErrSyntax, 11},
		{"comment", `{/**/}`, ErrSyntax, 1},
		{"NaN", `{"a":NaN}`, ErrSyntax, 5},
		{"Infinity", `{"a":-Infinity}`, ErrSyntax, 6},
		{"True", `{"a":True}`, ErrSyntax, 5},
		{"nul", `{"a":nul}`, ErrSyntax, 8},
		{"leading zero", `{"a":01}`, ErrSyntax, 6},
		{"plus sign", `{"a":+1}`, ErrSyntax, 5},
		{"point first", `{"a":.5}`, ErrSyntax, 5},
		{"point last", `{"a":5.}`, ErrSyntax, 7},
		{"empty exponent", `{"a":5e}`, ErrSyntax, 7},
		{"signed empty exponent", `{"a":5e+}`, ErrSyntax, 8},
		{"hexadecimal", `{"a":0x1}`, ErrSyntax, 6},
		{"newline in a string", "{\"a\":\"b\nc\"}", ErrSyntax, 7},
		{"NUL in a string", "{\"a\":\"b\x00c\"}", ErrSyntax, 7},
		{"control character in a key", "{\"a\x1f\":1}", ErrSyntax, 3},
		{"escape \\x", `{"a":"\x41"}`, ErrSyntax, 6},
		{"escape \\'", `{"a":"\'"}`, ErrSyntax, 6},
		{"escape \\U", `{"a":"\U0041"}`, ErrSyntax, 6},
		{"escape not hexadecimal", `{"a":"\u00g0"}`, ErrSyntax, 6},
		{"escape cut by the quote", `{"a":"\u00"}    `, ErrSyntax, 6},
		{"lone surrogate in a key", `{"x":1,"\ud83d":1}`, ErrSyntax, 7},
		{"stray continuation byte", "{\"a\":\"é\x80\"}", ErrEncoding, 8},
		{"overlong", "{\"a\":\"\xc0\xaf\"}", ErrEncoding, 6},
		{"surrogate as UTF-8", "{\"a\":\"\xed\xa0\x80\"}", ErrEncoding, 6},
		{"over U+10FFFF", "{\"a\":\"\xf4\x90\x80\x80\"}", ErrEncoding, 6},
		{"cut rune", "{\"a\":\"\xe2\x82\"}", ErrEncoding, 6},
		{"Latin-1 in a key", "{\"\xe9\":1}", ErrEncoding, 2},
		{"invalid far into the text", "{\"a\":\"" + strings.Repeat("é plain ", 9) + "\xff\"}", ErrEncoding, 6 + 9*9},
		{"duplicate", `{"model":1,"b":2,"model":3}`, ErrDuplicateKey, 17},
		{"duplicate by escape", `{"model":1,"mod\u0065l":2}`, ErrDuplicateKey, 11},
		{"duplicate by two escapes", `{"\u006dodel":1,"mod\u0065l":2}`, ErrDuplicateKey, 16},
		{"duplicate by surrogate pair", `{"🙂":1,"\ud83d\ude42":2}`, ErrDuplicateKey, 10},
		{"duplicate by escaped slash", `{"a/b":1,"a\/b":2}`, ErrDuplicateKey, 9},
		{"duplicate empty key", `{"":1,"":2}`, ErrDuplicateKey, 6},
		{"duplicate below", `{"a":[{"b":{"c":1,"c":1}}]}`, ErrDuplicateKey, 18},
		{"duplicate after a nested object", `{"a":{"a":1},"b":{"x":[{}]},"a":1}`, ErrDuplicateKey, 28},
		{"arrays too deep", `{"a":` + nested("[", "", "]", MaxDepth) + `}`, ErrTooDeep, 5 + MaxDepth - 1},
		{"objects too deep", nested(`{"a":`, "1", "}", MaxDepth+1), ErrTooDeep, 5 * MaxDepth},
		{"deep and never shut", `{"a":` + strings.Repeat("[", 10_000_000), ErrTooDeep, 5 + MaxDepth - 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Scan([]byte(test.body))
			var scan *ScanError
			if !errors.As(err, &scan) || !errors.Is(err, test.err) || scan.Offset != test.offset {
				t.Fatalf("got %v, want %v at byte %d", err, test.err, test.offset)
			}
		})
	}
}

// API-6: messages never echo the prompt.
func TestScanErrorText(t *testing.T) {
	secret := "sk-" + strings.Repeat("secret", 100)
	for _, test := range []struct{ body, want string }{
		{`{"a":` + secret, `not valid JSON: expected a value at byte 5`},
		{`{"a":"` + secret, `not valid JSON: the body ends inside a string at byte 609`},
		{secret, `not valid JSON: expected an object at byte 0`},
		{`{"a":1,` + secret, `not valid JSON: expected a key at byte 7`},
		{`{"mod\u0065l":1,"model":2}`, `ambiguous: key "model" stands twice at byte 16`},
		{"{\"a\\n\u202e\":1,\"a\\n\u202e\":2}", `ambiguous: key "a\n\u202e" stands twice at byte 12`},
		{`{"":1,"":2}`, `ambiguous: key "" stands twice at byte 6`},
		{`{"a":[{"` + secret + `":1,"` + secret + `":2}]}`, `ambiguous: a key stands twice in one object at byte 615`},
		{
			`{"` + strings.Repeat("x", 1000) + `":1,"` + strings.Repeat("x", 1000) + `":2}`,
			`ambiguous: key "` + strings.Repeat("x", 64) + `"… stands twice at byte 1006`,
		},
		{"{\"a\":\"\xff\"}", `not valid UTF-8 at byte 6`},
		{`["` + secret + `"]`, `not a JSON object at byte 0`},
		{`{"a":` + strings.Repeat("[", 2000), `nested more than 1000 levels deep at byte 1004`},
	} {
		_, err := Scan([]byte(test.body))
		if err == nil || err.Error() != test.want {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
	}
}

// Every byte value at every place of a word, in each of the loops' strides, means
// what it means to encoding/json.
func TestScanEveryByteEverywhere(t *testing.T) {
	for _, length := range []int{1, 7, 8, 9, 31, 33, 40, 70} {
		for at := range length {
			for c := range 256 {
				text := []byte(strings.Repeat("a", length))
				text[at] = byte(c)
				body := inputBody(string(text))
				_, err := Scan(body)
				if want := json.Valid(body) && c < 0x80; (err == nil) != want {
					t.Fatalf("byte %#02x at %d of %d: %v", c, at, length, err)
				}
			}
		}
	}
}

// In special's marks a borrow must not hide or invent the first special byte.
func TestSpecialLowestMarkIsExact(t *testing.T) {
	for low := range 256 {
		for high := range 256 {
			body := []byte{'a', 'a', byte(low), byte(high), 'a', 'a', 'a', 'a'}
			want := 8
			for i, c := range body {
				if c == '"' || c == '\\' || c < ' ' {
					want = i
					break
				}
			}
			if n, _ := plain(body); n != want {
				t.Fatalf("%q: %d, want %d", body, n, want)
			}
		}
	}
}

func TestScanLargeObjects(t *testing.T) {
	const n = 1_000_000
	body := manyKeys(n)
	if _, err := Scan(body); err != nil {
		t.Fatal(err)
	}
	twice := slices.Concat(body[:len(body)-2], []byte(`,"\u006b77":0}}`))
	if _, err := Scan(twice); !errors.Is(err, ErrDuplicateKey) {
		t.Fatalf("one of %d keys stands twice: %v", n, err)
	}
	for n := range 40 { // around the change from pairs to a table
		var b strings.Builder
		b.WriteString(`{"model":0`)
		for i := range n {
			fmt.Fprintf(&b, `,"k%d":0`, i)
		}
		if _, err := Scan([]byte(b.String() + "}")); err != nil {
			t.Fatalf("%d keys: %v", n+1, err)
		}
		if _, err := Scan([]byte(b.String() + `,"model":0}`)); !errors.Is(err, ErrDuplicateKey) {
			t.Fatalf("%d keys, first and last the same: %v", n+2, err)
		}
	}
}

func TestScanLargeString(t *testing.T) {
	body := inputBody(strings.Repeat("0123456789abcdef", 2<<20)) // 32 MB
	o, err := Scan(body)
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := o.Get("input"); len(v) != 32<<20+2 {
		t.Fatalf("value of %d bytes", len(v))
	}
	body[len(body)/2] = 1
	if _, err := Scan(body); !errors.Is(err, ErrSyntax) {
		t.Fatal("a control character in the middle passed")
	}
}
