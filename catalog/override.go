package catalog

import (
	"fmt"
	"net/netip"
	"strings"
)

// Override returns the catalog with other addresses, as a command line may ask for
// them; "" keeps the configuration's. The same rules hold as for the file.
func (c *Catalog) Override(listen, admin string) (*Catalog, error) {
	out := *c
	for _, o := range []struct {
		flag, value string
		to          *string
	}{{"--listen", listen, &out.Listen}, {"--admin", admin, &out.Admin}} {
		if o.value == "" {
			continue
		}
		value := o.value
		if port, ok := strings.CutPrefix(value, "localhost:"); ok {
			value = "127.0.0.1:" + port
		}
		if _, err := netip.ParseAddrPort(value); err != nil {
			return nil, fmt.Errorf("%s %q: write an address and a port, such as 127.0.0.1:10000", o.flag, o.value)
		}
		*o.to = value
	}
	if out.Listen == out.Admin && !strings.HasSuffix(out.Listen, ":0") { // port 0: any free one
		return nil, fmt.Errorf("listen and admin are both %s: clients and operators need a port each", out.Listen)
	}
	// SEC-3: `admin` off loopback needs a token.
	if a, err := netip.ParseAddrPort(out.Admin); err == nil && !a.Addr().IsLoopback() && out.AdminToken.IsZero() {
		return nil, fmt.Errorf("--admin %s is not a loopback address, so that the configuration needs admin_token", out.Admin)
	}
	return &out, nil
}
