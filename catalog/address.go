package catalog

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// hostPort returns where to listen, and its parts. Envoy binds addresses, not
// names, so the only name is localhost.
func (d *decoder) hostPort(v value) (netip.AddrPort, bool) {
	s, ok := d.text(v)
	if !ok {
		return netip.AddrPort{}, false
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		d.fault(v, "%s has no port: write host:port, such as 127.0.0.1:10000", quote(s))
		return netip.AddrPort{}, false
	}
	host, port := s[:i], s[i+1:]
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || !isDigits(port) {
		d.fault(v, "%s has no port from 0 to 65535", quote(s))
		return netip.AddrPort{}, false
	}
	bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	if bracketed {
		host = host[1 : len(host)-1]
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "":
		d.faultNear(v, "127.0.0.1:"+port, "%s has no host: write 0.0.0.0:%s to listen on every address", quote(s), port)
	case host == "localhost":
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(n)), true
	case err != nil || addr.Zone() != "":
		d.fault(v, "%s does not begin with an IP address or localhost", quote(s))
	case addr.Is6() != bracketed:
		d.fault(v, "%s: IPv6 addresses, and only they, stand in [ ]", quote(s))
	default:
		return netip.AddrPortFrom(addr.Unmap(), uint16(n)), true
	}
	return netip.AddrPort{}, false
}

// link parses an absolute URL. No fault shows it: it may hold a password, or be
// a key that was put on the wrong line.
func (d *decoder) link(v value, schemes ...string) (*url.URL, bool) {
	s, ok := d.text(v)
	if !ok {
		return nil, false
	}
	want := schemes[0] + "://"
	if s == "" {
		d.fault(v, "must not be empty")
		return nil, false
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		d.fault(v, "is not a URL: it contains a space, a control character or a letter outside ASCII")
		return nil, false
	}
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		d.fault(v, "has no scheme: it must begin with %s", want)
		return nil, false
	}
	if i := strings.IndexAny(rest+"/", "/?#"); strings.Contains(rest[:i], "@") {
		d.fault(v, "must not contain a user name or a password")
		return nil, false
	}
	known := false
	for _, allowed := range schemes {
		known = known || strings.EqualFold(scheme, allowed)
	}
	if !known {
		d.fault(v, "must begin with %s://", strings.Join(schemes, ":// or "))
		return nil, false
	}
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.Opaque != "" {
		d.fault(v, "is not a URL such as %sapi.example.com/v1", want)
		return nil, false
	}
	if u.Hostname() == "" {
		d.fault(v, "has no host")
		return nil, false
	}
	return u, true
}

var defaultPorts = map[string]uint16{"http": 80, "https": 443, "nats": 4222, "tls": 4222}

// endpoint takes an http or https URL apart. Its path is a base: something is
// appended to it, so that a query or a fragment has no place.
func (d *decoder) endpoint(v value) (Endpoint, bool) {
	u, ok := d.link(v, "https", "http")
	if !ok {
		return Endpoint{}, false
	}
	if u.RawQuery != "" || u.ForceQuery || strings.Contains(v.Value, "#") {
		d.fault(v, "must not have a query (?) or a fragment (#)")
		return Endpoint{}, false
	}
	e := Endpoint{Scheme: u.Scheme}
	if e.Host, e.Port, ok = d.host(v, u); !ok {
		return Endpoint{}, false
	}
	e.Path = strings.TrimRight(u.EscapedPath(), "/")
	if e.Path != "" && !cleanPath(e.Path) {
		d.fault(v, "must not have //, /./ or /../ in its path")
		return Endpoint{}, false
	}
	return e, true
}

func (d *decoder) host(v value, u *url.URL) (string, uint16, bool) {
	host, port := strings.ToLower(u.Hostname()), defaultPorts[u.Scheme]
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			d.fault(v, "has no port from 1 to 65535")
			return "", 0, false
		}
		port = uint16(n)
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" {
		return addr.String(), port, true
	}
	if !isHostName(host) {
		d.fault(v, "has a host that is neither a name nor an IP address")
		return "", 0, false
	}
	return host, port, true
}

func isHostName(s string) bool {
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || !isToken(label) {
			return false
		}
	}
	return len(s) <= 253 && !isDigits(labels[len(labels)-1])
}

// cleanPath reports whether a path means itself: a proxy that normalises it
// would not send it elsewhere.
func cleanPath(p string) bool {
	if strings.Contains(p, "//") {
		return false
	}
	for _, segment := range strings.Split(p, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// isLoopback reports whether only this machine can reach an endpoint's host.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// file returns an absolute path.
func (d *decoder) filename(v value) (string, bool) {
	s, ok := d.text(v)
	if !ok {
		return "", false
	}
	switch {
	case s == "":
		d.fault(v, "must not be empty")
		return "", false
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		d.fault(v, "must not contain control characters")
		return "", false
	}
	return absolute(d.src.Dir, s), true
}

func absolute(dir, file string) string {
	if filepath.IsAbs(file) {
		return filepath.Clean(file)
	}
	return filepath.Join(dir, file)
}
