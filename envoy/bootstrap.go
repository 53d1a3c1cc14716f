package envoy

import (
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// NodeID is how our Envoy introduces itself to the ADS server.
const NodeID = "shunt"

// Bootstrap is the file that `shunt run` starts Envoy with: where ADS is, and
// nothing of the catalog. It holds no secret.
func Bootstrap(o Options) ([]byte, error) {
	b := base(o)
	b.StaticResources = &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{SidecarCluster(o)}}
	b.DynamicResources = &bootstrapv3.Bootstrap_DynamicResources{
		LdsConfig: adsSource(),
		CdsConfig: adsSource(),
		AdsConfig: &corev3.ApiConfigSource{
			ApiType:             corev3.ApiConfigSource_GRPC,
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcServices:        []*corev3.GrpcService{grpcService()},
		},
	}
	return protojson.MarshalOptions{Indent: "  "}.Marshal(b)
}

// base is what both kinds of bootstrap share.
func base(o Options) *bootstrapv3.Bootstrap {
	b := &bootstrapv3.Bootstrap{
		Node:                &corev3.Node{Id: NodeID, Cluster: NodeID},
		BootstrapExtensions: []*corev3.TypedExtensionConfig{internalListeners()},
	}
	if o.AdminSocket != "" {
		b.Admin = &bootstrapv3.Admin{Address: pipe(o.AdminSocket)}
	}
	return b
}
