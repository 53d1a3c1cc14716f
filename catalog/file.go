package catalog

import (
	"cmp"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

const maxBody = 1 << 30

// defaults is the configuration that an empty file would be, if it were allowed.
func defaults(dir string) *Catalog {
	return &Catalog{
		Listen:  "127.0.0.1:10000",
		Admin:   "127.0.0.1:10001",
		DataDir: filepath.Join(dir, ".shunt"),
		Limits:  Limits{Body: 32 << 20},
		Routing: Routing{
			Sort:        SortLatency,
			MaxAttempts: 6,
			FallbackOn: FallbackOn{
				ConnectFailure: true, Reset: true, Timeout: true, ServerErrors: true,
				Statuses: []int{401, 402, 403, 404, 408, 429},
			},
			StickyTTL: 10 * time.Minute,
			Health:    defaultHealth(),
		},
		Billing:   defaultBilling(),
		Identity:  Identity{APIKeyHeader: "authorization"},
		State:     defaultState(),
		Telemetry: defaultTelemetry(),
		providers: make(map[string]*Provider),
		models:    make(map[string]*Model),
		variants:  make(map[string]*Variant),
		engines:   make(map[string]*Engine),
	}
}

var fileKeys = newKeys("listen", "admin", "admin_token", "data_dir", "limits", "providers!", "models!", "engines",
	"variants", "routing", "billing", "identity", "state", "telemetry", "passthrough")

// file reads the whole configuration. What others refer to is read first; the
// faults are sorted afterwards.
func (d *decoder) file(root *yaml.Node) {
	sections := make(map[string]value)
	v := d.child(nil, "", -1, nil, root)
	ok := d.object(v, fileKeys, func(key string, v value) {
		sections[key] = v
	})
	if !ok {
		return
	}
	d.addresses(sections)
	if v, ok := sections["data_dir"]; ok {
		if dir, ok := d.filename(v); ok {
			d.cat.DataDir = dir
		}
	}
	d.noProvs = sections["providers"].Node == nil
	d.noModels = sections["models"].Node == nil
	for _, s := range []struct {
		key  string
		read func(value)
	}{
		{"limits", d.limits}, {"providers", d.providers}, {"engines", d.engines}, {"models", d.models},
		{"variants", d.variants}, {"routing", d.routing}, {"billing", d.billing}, {"identity", d.identity},
		{"state", d.state}, {"telemetry", d.telemetry}, {"passthrough", d.passthrough},
	} {
		if v, ok := sections[s.key]; ok {
			s.read(v)
		}
	}
}

// addresses reads listen, admin and admin_token.
func (d *decoder) addresses(sections map[string]value) {
	read := func(key string, to *string) (netip.AddrPort, value) {
		v, ok := sections[key]
		if !ok {
			return netip.MustParseAddrPort(*to), v
		}
		addr, ok := d.hostPort(v)
		if ok {
			*to = addr.String()
		}
		return addr, v
	}
	listen, listenAt := read("listen", &d.cat.Listen)
	admin, adminAt := read("admin", &d.cat.Admin)
	token, hasToken := sections["admin_token"]
	if hasToken {
		d.cat.AdminToken, _ = d.secret(token)
	}
	if !listen.IsValid() || !admin.IsValid() {
		return
	}
	if listen.Port() == admin.Port() && admin.Port() != 0 {
		at := adminAt
		if at.Node == nil {
			at = listenAt
		}
		d.fault(at, "listen and admin both have port %d", admin.Port())
	}
	// SEC-3: `admin` off loopback needs a token.
	if !admin.Addr().IsLoopback() && !hasToken {
		d.fault(adminAt, "%s is not a loopback address, so that admin_token is needed", d.cat.Admin)
	}
}

var limitsKeys = newKeys("body")

func (d *decoder) limits(v value) {
	d.object(v, limitsKeys, func(_ string, v value) {
		set(&d.cat.Limits.Body)(d.size(v, maxBody))
	})
}

// set returns a function that stores a value if it was read: set(&x)(d.f(v)).
func set[T any](to *T) func(x T, ok bool) {
	return func(x T, ok bool) {
		if ok {
			*to = x
		}
	}
}

// finish completes a catalog without faults.
func (d *decoder) finish(root *yaml.Node) {
	c := d.cat
	c.Hash = version(d.src.Data, root, d.literals)
	slices.SortFunc(c.Providers, func(a, b *Provider) int { return cmp.Compare(a.Slug, b.Slug) })
	slices.SortFunc(c.Engines, func(a, b *Engine) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(c.Variants, func(a, b *Variant) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(c.secrets, func(a, b SecretUse) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Path, b.Path))
	})
	if c.Billing.Sinks == nil {
		c.Billing.Sinks = []Sink{{File: filepath.Join(c.DataDir, "events.jsonl")}}
	}
	rankPrices(c.offers)
}
