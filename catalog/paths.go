package catalog

// RoutedPath is a public path that shunt routes (API-1).
type RoutedPath struct {
	Path string
	API  API
}

// RoutedPaths are all of them.
var RoutedPaths = [...]RoutedPath{
	{"/v1/chat/completions", Chat},
	{"/v1/completions", Completions},
	{"/v1/responses", Responses},
	{"/api/v1/chat/completions", Chat},
	{"/api/v1/completions", Completions},
	{"/api/v1/responses", Responses},
	{"/api/talk-to-gpt", Chat},
}

// APIOf is the API behind a path without its query; ok is false for a path that is
// not routed.
func APIOf(path string) (api API, ok bool) {
	for _, r := range RoutedPaths {
		if r.Path == path {
			return r.API, true
		}
	}
	return 0, false
}
