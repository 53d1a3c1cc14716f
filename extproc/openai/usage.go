package openai

const (
	streamOptions = "stream_options"
	includeUsage  = "include_usage"
)

var onlyUsage = []byte(`{"include_usage":true}`)

// AskUsage returns the edit that makes a streamed answer end with its usage
// (BILL-7): stream_options.include_usage becomes true, and the rest of
// stream_options stays as it is.
//
// asked says that a usage chunk is the client's own and must reach it. A
// stream_options or include_usage of a kind that no one can vouch for ("yes", 1) is
// left for the provider to judge, and counts as asked.
func AskUsage(o *Object) (edit Edit, asked bool) {
	options, _ := o.Get(streamOptions)
	switch KindOf(options) {
	case Missing, Null:
		return Set(streamOptions, onlyUsage), false
	case Map:
	default:
		return Edit{}, true
	}
	inner, err := Scan(options)
	if err != nil {
		return Edit{}, true // not to be seen: a part of a checked body is valid
	}
	include, kind := inner.Bool(includeUsage)
	if include || kind != Missing && kind != Null && kind != Bool {
		return Edit{}, true
	}
	return Set(streamOptions, Rewrite(nil, &inner, []Edit{Set(includeUsage, jsonTrue)})), false
}

// UnaskUsage returns the edit that undoes AskUsage's, for an attempt at a provider
// that does not know include_usage: it is taken out of stream_options, and
// stream_options too where nothing else is in it. An original null, {} or
// {"include_usage":false} does not come back; each says the same as none.
func UnaskUsage(o *Object) Edit {
	options, _ := o.Get(streamOptions)
	if KindOf(options) != Map {
		return Edit{}
	}
	inner, err := Scan(options)
	if err != nil {
		return Edit{} // as in AskUsage
	}
	if _, ok := inner.Get(includeUsage); !ok {
		return Edit{}
	}
	if inner.Len() == 1 {
		return Remove(streamOptions)
	}
	return Set(streamOptions, Rewrite(nil, &inner, []Edit{Remove(includeUsage)}))
}
