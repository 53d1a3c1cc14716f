package envoy

import (
	"embed"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// The names of the filters that run on routed requests only.
const (
	filterBuffer  = "envoy.filters.http.buffer"
	filterExtProc = "envoy.filters.http.ext_proc"
	filterLua     = "envoy.filters.http.lua"
)

//go:embed response/*.lua
var responseFiles embed.FS

// responseLua is the response filter: one chunk of Lua, in which a file knows those
// before it.
var responseLua = func() string {
	var all []string
	for _, part := range []string{"begin", "usage", "json", "events", "answer"} {
		text, err := responseFiles.ReadFile("response/" + part + ".lua")
		if err != nil {
			panic(err) // it is not in this program
		}
		all = append(all, string(text))
	}
	return strings.Join(all, "\n")
}()

// httpFilters is the chain in the order of the request. A response passes it
// backwards: lua reads its usage and edits the body, then the headers of every answer
// are completed.
func httpFilters(c *catalog.Catalog, o Options) ([]*hcmv3.HttpFilter, error) {
	filters := []*hcmv3.HttpFilter{
		headerMutation(nil, append([]*mutationv3.HeaderMutation{
			// Where an answer of shunt's own takes the place of a retry, it knows better.
			ifAbsent(names.HeaderAttempts, "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
			set(names.HeaderExplain, "%DYNAMIC_METADATA("+names.Namespace+":"+names.KeyExplain+")%"),
		}, withoutEnd(c)...)),
	}
	if c.Identity.JWT != nil {
		jwt, err := jwtFilter(c)
		if err != nil {
			return nil, err
		}
		filters = append(filters, jwt)
	}
	return append(filters,
		disabled(filterBuffer, pack(&bufferv3.Buffer{MaxRequestBytes: u32(uint32(c.Limits.Body))})),
		disabled(filterExtProc, pack(requestExtProc(c))),
		disabled(filterLua, pack(responseEditor(c))),
		httpFilter("envoy.filters.http.router", pack(&routerv3.Router{
			SuppressEnvoyHeaders: true,
			UpstreamLog:          attemptLog(o),
		})),
	), nil
}

func disabled(name string, config *anypb.Any) *hcmv3.HttpFilter {
	f := httpFilter(name, config)
	f.Disabled = true
	return f
}

// routedFilters switches the disabled filters on for a route.
func routedFilters() map[string]*anypb.Any {
	on := pack(&routev3.FilterConfig{Config: &anypb.Any{}})
	return map[string]*anypb.Any{filterBuffer: on, filterExtProc: on, filterLua: on}
}

// responseEditor names the provider in the answer, reads the usage in it and takes out
// a usage chunk that the client did not ask for, without a round trip (FALL-4, BILL-7).
func responseEditor(c *catalog.Catalog) *luav3.Lua {
	return &luav3.Lua{
		DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: responseLua}},
		FilterContext: &structpb.Struct{Fields: map[string]*structpb.Value{
			"name_provider": structpb.NewBoolValue(c.Routing.ResponseProvider == catalog.ResponseProviderBody),
		}},
	}
}
