package openai

import (
	"encoding/json"
	"slices"
	"testing"
)

func mustScan(t testing.TB, body string) *Object {
	t.Helper()
	o, err := Scan([]byte(body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return &o
}

func TestGet(t *testing.T) {
	o := mustScan(t, ` { "mod\u0065l" : "m" , "n":{"model":"inner"},"é":[1, 2] ,"":null}`)
	for key, want := range map[string]string{
		"model": `"m"`, "n": `{"model":"inner"}`, "é": `[1, 2]`, "": `null`,
	} {
		if v, ok := o.Get(key); !ok || string(v) != want {
			t.Errorf("%q: %s, %v; want %s", key, v, ok, want)
		}
	}
	for _, key := range []string{"Model", "mode", `mod\u0065l`, "inner"} {
		if v, ok := o.Get(key); ok {
			t.Errorf("%q: %s", key, v)
		}
	}
	var none Object
	if _, ok := none.Get("model"); ok || none.Len() != 0 {
		t.Error("the zero Object has a member")
	}
}

func TestGetCannotGrowIntoTheBody(t *testing.T) {
	o := mustScan(t, `{"a":1,"b":2}`)
	v, _ := o.Get("a")
	_ = append(v, "XXXX"...)
	if string(o.Raw()) != `{"a":1,"b":2}` {
		t.Fatalf("body became %s", o.Raw())
	}
}

func TestMembers(t *testing.T) {
	const body = ` { "mod\u0065l" : "m" , "n":{"x":1} } `
	o := mustScan(t, body)
	var got [][3]string
	for m := range o.Members() {
		got = append(got, [3]string{string(m.Key), body[m.Start:m.End], body[m.ValueStart:m.End]})
	}
	want := [][3]string{
		{"model", `"mod\u0065l" : "m"`, `"m"`},
		{"n", `"n":{"x":1}`, `{"x":1}`},
	}
	if !slices.Equal(got, want) || o.Len() != 2 {
		t.Fatalf("got %q", got)
	}
	for range o.Members() {
		break
	}
}

func TestKinds(t *testing.T) {
	o := mustScan(t, `{"n":null,"t":true,"f":false,"i":-1,"s":"a\n\"\ud83d\ude42\ud83d\u00e9\/","a":[],"o":{}}`)
	for key, want := range map[string]Kind{
		"x": Missing, "n": Null, "t": Bool, "f": Bool, "i": Number, "s": String, "a": Array, "o": Map,
	} {
		v, kind := o.Bool(key)
		if kind != want || v != (key == "t") {
			t.Errorf("Bool(%q) = %v, %v; want kind %v", key, v, kind, want)
		}
		text, kind := o.Text(key)
		if kind != want || (text != "") != (key == "s") {
			t.Errorf("Text(%q) = %q, %v; want kind %v", key, text, kind, want)
		}
	}
	if text, _ := o.Text("s"); text != "a\n\"🙂\ufffdé/" {
		t.Errorf("text is %q", text)
	}
}

func TestStreamRequested(t *testing.T) {
	for body, want := range map[string]bool{
		`{"stream":true}`:       true,
		`{"str\u0065am":true}`:  true,
		`{"stream":false}`:      false,
		`{"stream":null}`:       false,
		`{"stream":"true"}`:     false,
		`{"stream":1}`:          false,
		`{"x":{"stream":true}}`: false,
		`{}`:                    false,
	} {
		if got := StreamRequested(mustScan(t, body)); got != want {
			t.Errorf("%s: %v", body, got)
		}
	}
}

func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "plain", "q\"b\\s/", "\x00\x01\x1f\x7f\n\r\t\b\f", "é日🙂", "\u2028<>&", "bad\xff\xc3"} {
		var back string
		if err := json.Unmarshal(AppendString(nil, s), &back); err != nil || back != string([]rune(s)) {
			t.Errorf("%q came back as %q, %v", s, back, err)
		}
	}
}
