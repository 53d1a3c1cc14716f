package envoy

import (
	_ "embed"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterwasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// holdWasm is hold/hold.wat: 337 bytes, run in the V8 that is part of Envoy.
//
//go:embed hold/hold.wasm
var holdWasm []byte

// holdHeaders makes the first-byte timeout one of the first token: many providers send
// the headers of a stream long before they have anything to say. An attempt has begun
// to answer when there is a byte of the body; until then it may be given up for the
// next (FALL-1). Should the VM fail, answers go on as they come.
func holdHeaders() *hcmv3.HttpFilter {
	return httpFilter("envoy.filters.http.wasm", pack(&filterwasmv3.Wasm{Config: &wasmv3.PluginConfig{
		Name:          "shunt_hold",
		FailurePolicy: wasmv3.FailurePolicy_FAIL_OPEN,
		// Without it Envoy takes a stop for one of the body too.
		AllowOnHeadersStopIteration: wrapperspb.Bool(true),
		Vm: &wasmv3.PluginConfig_VmConfig{VmConfig: &wasmv3.VmConfig{
			VmId: "shunt_hold", Runtime: "envoy.wasm.runtime.v8",
			Code: &corev3.AsyncDataSource{Specifier: &corev3.AsyncDataSource_Local{Local: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineBytes{InlineBytes: holdWasm},
			}}},
		}},
	}}))
}
