package openai

import "testing"

func TestRewrite(t *testing.T) {
	const abc = `{ "a" : 1 , "b":[2] ,"c":3 }`
	x := []byte(`"x"`)
	tests := []struct {
		name, body string
		edits      []Edit
		want       string
	}{
		{"nothing", abc, nil, abc},
		{"zero edit", abc, []Edit{{}}, abc},
		{"space around", " \n{\"a\":1}\t ", []Edit{Set("a", x)}, " \n{\"a\":\"x\"}\t "},
		{"replace first", abc, []Edit{Set("a", x)}, `{ "a" : "x" , "b":[2] ,"c":3 }`},
		{"replace last", abc, []Edit{Set("c", x)}, `{ "a" : 1 , "b":[2] ,"c":"x" }`},
		{"replace, no value", abc, []Edit{Set("c", nil)}, `{ "a" : 1 , "b":[2] ,"c":null }`},
		{"replace under an escaped key", `{"mod\u0065l":1}`, []Edit{Set("model", x)}, `{"mod\u0065l":"x"}`},
		{"replace top level only", `{"b":{"a":1},"a":2}`, []Edit{Set("a", x)}, `{"b":{"a":1},"a":"x"}`},
		{"remove first", abc, []Edit{Remove("a")}, `{ "b":[2] ,"c":3 }`},
		{"remove middle", abc, []Edit{Remove("b")}, `{ "a" : 1 , "c":3 }`},
		{"remove last", abc, []Edit{Remove("c")}, `{ "a" : 1 , "b":[2] }`},
		{"remove first two", abc, []Edit{Remove("b"), Remove("a")}, `{ "c":3 }`},
		{"remove last two", abc, []Edit{Remove("b"), Remove("c")}, `{ "a" : 1 }`},
		{"remove outer two", abc, []Edit{Remove("a"), Remove("c")}, `{ "b":[2] }`},
		{"remove all", abc, []Edit{Remove("c"), Remove("a"), Remove("b")}, `{  }`},
		{"remove the only one", `{"a":1}`, []Edit{Remove("a")}, `{}`},
		{"remove what is not there", abc, []Edit{Remove("d")}, abc},
		{"remove twice", abc, []Edit{Remove("b"), Remove("b")}, `{ "a" : 1 , "c":3 }`},
		{"remove last, replace the one before", abc, []Edit{Remove("c"), Set("b", x)}, `{ "a" : 1 , "b":"x" }`},
		{"rename", abc, []Edit{Rename("b", "b2")}, `{ "a" : 1 , "b2":[2] ,"c":3 }`},
		{"rename an escaped key", `{"\u0061":1}`, []Edit{Rename("a", "b")}, `{"b":1}`},
		{"rename to itself", `{"\u0061":1}`, []Edit{Rename("a", "a")}, `{"\u0061":1}`},
		{"rename quotes", `{"a":1}`, []Edit{Rename("a", "\"\n")}, `{"\"\n":1}`},
		{"rename what is not there", abc, []Edit{Rename("d", "e")}, abc},
		{"rename onto a member", abc, []Edit{Rename("a", "c")}, `{ "b":[2] ,"c":3 }`},
		{"rename onto a removed one", abc, []Edit{Remove("c"), Rename("a", "c")}, `{ "c" : 1 , "b":[2] }`},
		{"rename onto an added one", `{"a":1}`, []Edit{Set("b", x), Rename("a", "b")}, `{"b":"x"}`},
		{"rename, then set", `{"model_id":"m","x":1}`, []Edit{Rename("model_id", "model"), Set("model", x)}, `{"model":"x","x":1}`},
		{"rename, then remove", abc, []Edit{Rename("b", "d"), Remove("d")}, `{ "a" : 1 , "c":3 }`},
		{"swap names", `{"a":1,"b":2}`, []Edit{Rename("a", "t"), Rename("b", "a"), Rename("t", "b")}, `{"b":1,"a":2}`},
		{"add", abc, []Edit{Set("d", x)}, `{ "a" : 1 , "b":[2] ,"c":3,"d":"x" }`},
		{"add to nothing", " { } ", []Edit{Set("d", x)}, ` {"d":"x" } `},
		{"add two", `{}`, []Edit{Set("d", x), Set("e", []byte("1"))}, `{"d":"x","e":1}`},
		{"add twice the same", `{}`, []Edit{Set("d", x), Set("d", []byte("1"))}, `{"d":1}`},
		{"add, then remove", `{"a":1}`, []Edit{Set("d", x), Remove("d")}, `{"a":1}`},
		{"add, remove, add", `{"a":1}`, []Edit{Set("d", x), Remove("d"), Set("d", []byte("1"))}, `{"a":1,"d":1}`},
		{"remove all and add", abc, []Edit{Remove("a"), Remove("b"), Remove("c"), Set("d", x)}, `{ "d":"x" }`},
		{"remove, then set", abc, []Edit{Remove("a"), Set("a", x)}, `{ "b":[2] ,"c":3,"a":"x" }`},
		{"remove last and add", abc, []Edit{Remove("c"), Set("d", x)}, `{ "a" : 1 , "b":[2],"d":"x" }`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := mustScan(t, test.body)
			got := string(Rewrite([]byte("dst:"), o, test.edits))
			if got != "dst:"+test.want {
				t.Errorf("got  %s\nwant dst:%s", got, test.want)
			}
			mustScan(t, got[len("dst:"):])
		})
	}
}
