package envoy

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
)

// ADS serves configurations to Envoy and knows whether Envoy has taken the newest.
// Its methods may be called from any goroutine; only Taken blocks on Envoy.
type ADS struct {
	cache   cache.SnapshotCache
	version atomic.Uint64
	acks    ackTable
	asked   atomic.Bool // by an Envoy, at least once
	onNack  func(typeURL, message string)
}

// NewADS makes a server with no configuration yet. onNack is told when Envoy
// refuses a configuration, with Envoy's own words.
func NewADS(onNack func(typeURL, message string)) *ADS {
	return &ADS{cache: cache.NewSnapshotCache(true, oneNode{}, nil), onNack: onNack}
}

// oneNode gives every Envoy the same configuration.
type oneNode struct{}

func (oneNode) ID(*corev3.Node) string { return NodeID }

// Register adds the aggregated discovery service to a gRPC server. It serves until
// ctx ends.
func (a *ADS) Register(ctx context.Context, s grpc.ServiceRegistrar) {
	srv := server.NewServer(ctx, a.cache, server.CallbackFuncs{
		StreamRequestFunc: a.seen,
		StreamOpenFunc: func(context.Context, int64, string) error {
			a.acks.reset()
			a.asked.Store(true)
			return nil
		},
	})
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, srv)
}

// Publish makes r the configuration that Envoy is to have, under a new version.
func (a *ADS) Publish(ctx context.Context, r Resources) error {
	version := strconv.FormatUint(a.version.Add(1), 10)
	snap, err := cache.NewSnapshot(version, map[resource.Type][]types.Resource{
		resource.ListenerType: list(r.Listeners),
		resource.RouteType:    list(r.Routes),
		resource.ClusterType:  list(r.Clusters),
		resource.SecretType:   list(r.Secrets),
	})
	if err != nil {
		return fmt.Errorf("xds snapshot %s: %w", version, err)
	}
	a.acks.expect(version, len(r.Secrets) > 0)
	if err := a.cache.SetSnapshot(ctx, NodeID, snap); err != nil {
		return fmt.Errorf("xds snapshot %s: %w", version, err)
	}
	return nil
}

func list(in []Named) []types.Resource {
	out := make([]types.Resource, len(in))
	for i, r := range in {
		out[i] = r
	}
	return out
}

// seen watches what Envoy says: every request after the first acknowledges a
// version, or refuses it with an error.
func (a *ADS) seen(_ int64, r *discoveryv3.DiscoveryRequest) error {
	if r.GetErrorDetail() != nil {
		a.acks.nack(r.GetTypeUrl(), r.GetErrorDetail().GetMessage())
		a.onNack(r.GetTypeUrl(), r.GetErrorDetail().GetMessage())
		return nil
	}
	a.acks.ack(r.GetTypeUrl(), r.GetVersionInfo())
	return nil
}

// Current reports whether Envoy has acknowledged the newest configuration, and if
// not, what is missing (CMD-8).
func (a *ADS) Current() (ok bool, missing string) { return a.acks.current() }

// Asked reports whether an Envoy has ever asked for its configuration. One that runs on
// a rendered file never does.
func (a *ADS) Asked() bool { return a.asked.Load() }

// Taken blocks until Envoy has acknowledged the newest configuration. It returns
// ErrRefused with Envoy's words when Envoy does not take it, and ctx's error when no
// Envoy has answered by then.
func (a *ADS) Taken(ctx context.Context) error { return a.acks.wait(ctx) }
