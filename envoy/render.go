package envoy

import (
	"encoding/json"
	"fmt"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/shunt-gateway/shunt/catalog"
)

// Static writes a whole bootstrap as YAML, for an Envoy that someone else runs
// without ADS. shunt serves ext_proc, access log and API beside it (`shunt serve`).
func Static(c *catalog.Catalog, o Options, secret SecretSource) ([]byte, error) {
	o.static = true
	r, err := Build(c, nil, o, secret)
	if err != nil {
		return nil, err
	}
	b := base(o)
	b.StaticResources = &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{SidecarCluster(o)}}
	for _, l := range r.Listeners {
		b.StaticResources.Listeners = append(b.StaticResources.Listeners, l.(*listenerv3.Listener))
	}
	for _, cl := range r.Clusters {
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, cl.(*clusterv3.Cluster))
	}
	for _, s := range r.Secrets {
		b.StaticResources.Secrets = append(b.StaticResources.Secrets, s.(*tlsv3.Secret))
	}
	return toYAML(b)
}

// toYAML goes through JSON, whose field names and well-known types Envoy reads.
func toYAML(m proto.Message) ([]byte, error) {
	js, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	var v any
	if err := json.Unmarshal(js, &v); err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	return yaml.Marshal(v)
}
