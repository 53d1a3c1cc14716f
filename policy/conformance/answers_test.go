package conformance_test

import (
	"reflect"
	"testing"

	"github.com/shunt-gateway/shunt/policy/conformance"
)

func TestParseEndpoints(t *testing.T) {
	got, err := conformance.ParseEndpoints("# a comment\n=== API-2a the list\nquote seed 002: \"x\"\nGET /v1/models?x=1\n----\n200\n{\"a\":\n 1.50}\n\n# more\n=== API-3a gone\nPUT /x\n----\n404 model_not_found model\n")
	want := []conformance.Endpoint{
		{ID: "API-2a", Title: "the list", Quotes: []string{`seed 002: "x"`}, Method: "GET", Path: "/v1/models?x=1", Status: 200, Body: "{\"a\":\n 1.50}"},
		{ID: "API-3a", Title: "gone", Method: "PUT", Path: "/x", Status: 404, Code: "model_not_found", Param: "model"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%v\n got %+v\nwant %+v", err, got, want)
	}
	for name, text := range map[string]string{
		"no answer":         "=== X a\nGET /\n",
		"no request":        "=== X a\n----\n404 not_found\n",
		"two requests":      "=== X a\nGET /\nGET /\n----\n404 not_found\n",
		"no status":         "=== X a\nGET /\n----\nfine\n",
		"200 without body":  "=== X a\nGET /\n----\n200\n",
		"error without one": "=== X a\nGET /\n----\n404\n",
	} {
		if cases, err := conformance.ParseEndpoints(text); err == nil {
			t.Errorf("%s: %+v", name, cases)
		}
	}
}

func TestCheckEndpoint(t *testing.T) {
	list := conformance.Endpoint{Status: 200, Body: `{"a": [1.50, 2]}`}
	gone := conformance.Endpoint{Status: 404, Code: "model_not_found", Param: "model"}
	bare := conformance.Endpoint{Status: 404, Code: "not_found"}
	const said = `{"error":{"code":"model_not_found","message":"no \"null\" model","param":"model","type":"invalid_request_error"}}`
	for _, tc := range []struct {
		e      conformance.Endpoint
		status int
		body   string
		good   bool
	}{
		{list, 200, `{"a":[1.50,2]}`, true},
		{list, 200, `{"a":[1.5,2]}`, false},
		{list, 200, `{"a":[1.50,2],"b":null}`, false},
		{list, 201, `{"a":[1.50,2]}`, false},
		{list, 200, `x`, false},
		{gone, 404, said, true},
		{gone, 400, said, false},
		{bare, 404, said, false},
		{bare, 404, `{"error":{"code":"not_found","message":"x","param":null,"type":"invalid_request_error"}}`, true},
		{bare, 404, `{"error":{"code":"not_found","message":"","param":null,"type":"invalid_request_error"}}`, false},
		{bare, 404, `{"error":{"code":"not_found","message":"x","type":"invalid_request_error"}}`, false},
	} {
		if err := tc.e.Check(tc.status, []byte(tc.body)); (err == nil) != tc.good {
			t.Errorf("%d %s: %v", tc.status, tc.body, err)
		}
	}
}
