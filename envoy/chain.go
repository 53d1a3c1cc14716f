package envoy

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	priorityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/router/cluster_specifiers/priority_group/v3"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// What this file holds differs between Envoy versions: how a chain that was
// computed for one request reaches the router. From Envoy 1.40 on it is dynamic
// metadata; older ones need another form, and nothing else.

// chain lets the request's metadata name the providers in order: attempt n goes to
// the n-th group. The groups here are what those names mean.
func chain(s *scene) *routev3.RouteAction_InlineClusterSpecifierPlugin {
	spec := &priorityv3.PriorityGroupClusterSpecifier{OverrideMetadataNamespace: names.Namespace}
	group := func(name, cluster string) {
		spec.PriorityGroups = append(spec.PriorityGroups, &priorityv3.PriorityGroup{
			Name:     name,
			Clusters: []*priorityv3.ClusterWeight{{ClusterName: cluster, Weight: u32(1)}},
		})
	}
	for _, p := range s.providers {
		group(p.Slug, names.ProviderCluster(p.Slug))
	}
	for _, p := range s.timed {
		group(names.TimedGroup(p.Slug), names.TimedCluster(p.Slug))
	}
	return &routev3.RouteAction_InlineClusterSpecifierPlugin{
		InlineClusterSpecifierPlugin: &routev3.ClusterSpecifierPlugin{
			Extension: extension("envoy.router.cluster_specifier_plugin.priority_group", spec),
		},
	}
}

// direct: see names.Direct.
func direct(f catalog.FallbackOn) bool { return names.Direct(f.ConnectFailure, f.Reset, f.Timeout) }

// retryOn translates routing.fallback_on (FALL-1). Envoy's "5xx" means every 5xx and
// no answer at all, for whatever reason; anything less is spelt out.
func retryOn(r *catalog.Routing) (conditions string, statuses []uint32) {
	var on []string
	f := r.FallbackOn
	if r.FallbackWithin > 0 { // of answers, a header tells: see retriableEnds
		f.ServerErrors, f.Statuses = false, nil
	}
	if f.ServerErrors && f.ConnectFailure && f.Reset && f.Timeout {
		on = append(on, "5xx")
	} else {
		on, statuses = retryOnSome(f)
	}
	for _, s := range f.Statuses {
		if !f.ServerErrors || s < 500 {
			statuses = append(statuses, uint32(s))
		}
	}
	if len(statuses) > 0 {
		on = append(on, "retriable-status-codes")
	}
	return strings.Join(append(on, "retriable-headers"), ","), statuses
}

// retryOnSome leaves to the timed way what Envoy does not tell apart.
func retryOnSome(f catalog.FallbackOn) (on []string, statuses []uint32) {
	if f.ConnectFailure && direct(f) {
		on = append(on, "connect-failure")
	}
	if f.Reset && direct(f) {
		on = append(on, "reset")
	}
	if f.ServerErrors {
		for s := uint32(500); s < 600; s++ {
			statuses = append(statuses, s)
		}
	}
	return on, statuses
}

// retriableOutcomes are what the timed way answers where the direct way has no
// answer at all.
func retriableOutcomes(f catalog.FallbackOn) []*routev3.HeaderMatcher {
	var out []*routev3.HeaderMatcher
	for _, o := range []struct {
		on    bool
		value string
	}{
		{f.ConnectFailure, names.OutcomeConnectFailure},
		{f.Reset, names.OutcomeReset},
		{f.Timeout, names.OutcomeTimeout},
	} {
		if o.on {
			out = append(out, headerIs(names.HeaderOutcome, o.value))
		}
	}
	return out
}

// adsSource says that a resource comes over ADS.
func adsSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}
