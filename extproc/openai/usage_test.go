package openai

import "testing"

// BILL-7: usage is asked for; what the client did not ask for is not shown to it.
func TestAskUsage(t *testing.T) {
	const asks = `{"m":1,"stream_options":{"include_usage":true}}`
	for _, test := range []struct {
		name, body, want string
		asked            bool
		back             string // undone
	}{
		{"absent", `{"m":1}`, asks, false, `{"m":1}`},
		{"null", `{"m":1,"stream_options":null}`, asks, false, `{"m":1}`},
		{"empty", `{"m":1,"stream_options":{}}`, asks, false, `{"m":1}`},
		{"false", `{"m":1,"stream_options":{"include_usage":false}}`, asks, false, `{"m":1}`},
		{"include null", `{"m":1,"stream_options":{"include_usage":null}}`, asks, false, `{"m":1}`},
		{
			"other keys", `{"stream_options":{ "x": [1] },"m":1}`,
			`{"stream_options":{ "x": [1],"include_usage":true },"m":1}`, false,
			`{"stream_options":{ "x": [1] },"m":1}`,
		},
		{
			"other keys and false", `{"stream_options":{"x":1, "include_usage" : false ,"y":2}}`,
			`{"stream_options":{"x":1, "include_usage" : true ,"y":2}}`, false,
			`{"stream_options":{"x":1, "y":2}}`,
		},
		{"true", asks, asks, true, `{"m":1}`},
		{
			"escaped true", `{"m":1,"stream\u005foptions":{"includ\u0065_usage":true}}`,
			`{"m":1,"stream\u005foptions":{"includ\u0065_usage":true}}`, true, `{"m":1}`,
		},
		{
			"escaped false", `{"m":1,"stream\u005foptions":{"includ\u0065_usage":false}}`,
			`{"m":1,"stream\u005foptions":{"includ\u0065_usage":true}}`, false, `{"m":1}`,
		},
		{
			"not a boolean", `{"stream_options":{"include_usage":1,"x":1}}`,
			`{"stream_options":{"include_usage":1,"x":1}}`, true, `{"stream_options":{"x":1}}`,
		},
		{"not an object", `{"stream_options":"yes"}`, `{"stream_options":"yes"}`, true, `{"stream_options":"yes"}`},
		{
			"include_usage elsewhere", `{"include_usage":true,"m":1}`,
			`{"include_usage":true,"m":1,"stream_options":{"include_usage":true}}`, false,
			`{"include_usage":true,"m":1}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := mustScan(t, test.body)
			edit, asked := AskUsage(o)
			got := Rewrite(nil, o, []Edit{edit})
			if string(got) != test.want || asked != test.asked {
				t.Errorf("got %s, %v; want %s, %v", got, asked, test.want, test.asked)
			}
			o = mustScan(t, string(got))
			if back := Rewrite(nil, o, []Edit{UnaskUsage(o)}); string(back) != test.back {
				t.Errorf("undone: %s, want %s", back, test.back)
			}
		})
	}
	o := mustScan(t, `{"stream_options":{"x":1}}`)
	if edit := UnaskUsage(o); edit.op != opNone {
		t.Errorf("nothing to undo, but %v", edit)
	}
}
