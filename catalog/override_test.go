package catalog

import (
	"strings"
	"testing"
)

func TestOverride(t *testing.T) {
	c := &Catalog{Listen: "127.0.0.1:10000", Admin: "127.0.0.1:10001"}
	for _, tc := range []struct{ listen, admin, wantListen, wantAdmin, fault string }{
		{"", "", "127.0.0.1:10000", "127.0.0.1:10001", ""},
		{"0.0.0.0:80", "", "0.0.0.0:80", "127.0.0.1:10001", ""},
		{"localhost:81", "[::1]:82", "127.0.0.1:81", "[::1]:82", ""},
		{"10000", "", "", "", `--listen "10000"`},
		{"", "edge:1", "", "", `--admin "edge:1"`},
		{"", "0.0.0.0:10001", "", "", "needs admin_token"},
		{"127.0.0.1:10001", "", "", "", "a port each"},
		{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", ""},
	} {
		got, err := c.Override(tc.listen, tc.admin)
		switch {
		case tc.fault != "":
			if err == nil || !strings.Contains(err.Error(), tc.fault) {
				t.Errorf("Override(%q, %q): got %v, want a fault with %q", tc.listen, tc.admin, err, tc.fault)
			}
		case err != nil || got.Listen != tc.wantListen || got.Admin != tc.wantAdmin:
			t.Errorf("Override(%q, %q): got %+v, %v", tc.listen, tc.admin, got, err)
		}
	}
	if c.Listen != "127.0.0.1:10000" {
		t.Error("the catalog itself was changed")
	}
}
