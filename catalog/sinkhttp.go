package catalog

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const sequence = yaml.SequenceNode

// isShort reports whether a value that is a mapping in full is one string.
func (d *decoder) isShort(v value) bool { return v.Kind == yaml.ScalarNode }

func isIPv4(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}

const (
	defaultHTTPSinkTimeout = 10 * time.Second
	mostBatch              = 1000
)

func (d *decoder) httpSink(v value) (*HTTPSink, bool) {
	s := &HTTPSink{Batch: 1, Timeout: defaultHTTPSinkTimeout}
	d.object(v, httpSinkKeys, func(key string, v value) {
		switch key {
		case "url":
			set(&s.URL)(d.receiver(v))
		case "batch":
			set(&s.Batch)(d.whole(v, mostBatch))
		case "headers":
			s.Headers = d.secretHeaders(v)
		case "timeout":
			set(&s.Timeout)(d.duration(v, longest))
		case "anonymous":
			set(&s.Anonymous)(d.name(v))
		case "tls":
			d.clientTLS(v, &s.TLS)
		}
	})
	return s, s.URL != ""
}

// receiver reads the URL that events are posted to. It may have a query.
func (d *decoder) receiver(v value) (string, bool) {
	u, ok := d.link(v, "https", "http")
	if !ok {
		return "", false
	}
	if strings.Contains(v.Value, "#") {
		d.fault(v, "must not have a fragment (#)")
		return "", false
	}
	if _, _, ok := d.host(v, u); !ok {
		return "", false
	}
	return u.String(), true
}

// sinkHeaders are those that the sink itself sets.
var sinkHeaders = []string{"content-type", "content-length", "host", "transfer-encoding", "connection"}

// secretHeaders reads header names and their values. The names are the operator's,
// and so a fault shows one only where it can be nothing else.
func (d *decoder) secretHeaders(v value) []SecretHeader {
	var list []SecretHeader
	d.entries(v, func(name string, v value) {
		lower := strings.ToLower(name)
		switch {
		case name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool { return r == '.' || !isKeyRune(r) }):
			d.add(v.key, v.place.up.String(), "has a key that is not a header's name", "")
			return
		case slices.Contains(sinkHeaders, lower):
			d.faultKey(v, "", "is set by shunt itself")
			return
		case slices.ContainsFunc(list, func(h SecretHeader) bool { return h.Name == lower }):
			d.faultKey(v, "", "is there twice: names differ in more than their case")
			return
		}
		if value, ok := d.secret(v); ok {
			list = append(list, SecretHeader{Name: lower, Value: value})
		}
	})
	slices.SortFunc(list, func(a, b SecretHeader) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (d *decoder) clientTLS(v value, t *ClientTLS) {
	given := make(map[string]bool)
	d.object(v, tlsKeys, func(key string, v value) {
		given[key] = true
		to := map[string]*string{"ca": &t.CA, "cert": &t.Cert, "key": &t.Key}[key]
		set(to)(d.filename(v))
	})
	if given["cert"] != given["key"] {
		d.faultKey(v, "", "must have both of cert and key, or neither")
	}
}
