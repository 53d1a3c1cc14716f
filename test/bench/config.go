package main

import (
	"bytes"
	"fmt"
	"net"
	"text/template"
)

// sitePaths lead through an Envoy of this program to a site of the provider.
var sitePaths = [sites]string{siteFast: "/v1", siteDown: "/down", siteHeld: "/held"}

// modelOf are the models of shunt's configuration. That of siteDown goes to siteFast
// in the end: its first provider is down.
var modelOf = [sites]string{siteFast: "simple", siteDown: "failover", siteHeld: "held"}

// envoyConfig is the bootstrap of a plain Envoy; with extProc, a socket, the body
// goes through a server there in the mode that shunt uses: buffered by Envoy, sent
// with the headers, one round trip. Neither has an access log.
func envoyConfig(provider [sites]string, extProc string) ([]byte, error) {
	type cluster struct{ Name, Path, Host, Port string }
	var clusters []cluster
	for i, addr := range provider {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		clusters = append(clusters, cluster{modelOf[i], sitePaths[i], host, port})
	}
	var out bytes.Buffer
	err := envoyTemplate.Execute(&out, map[string]any{"Clusters": clusters, "ExtProc": extProc})
	return out.Bytes(), err
}

var envoyTemplate = template.Must(template.New("envoy").Parse(`
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: bench
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    per_connection_buffer_limit_bytes: 33554432
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          stream_idle_timeout: 0s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
{{- range .Clusters}}
              - {match: {prefix: "{{.Path}}/"}, route: {cluster: "{{.Name}}", timeout: 0s}}
{{- end}}
          http_filters:
{{- if .ExtProc}}
          - name: envoy.filters.http.buffer
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
              max_request_bytes: 33554432
          - name: envoy.filters.http.ext_proc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {envoy_grpc: {cluster_name: floor}}
              message_timeout: 10s
              processing_mode:
                request_header_mode: SEND
                request_body_mode: STREAMED
                request_trailer_mode: SKIP
                response_header_mode: SKIP
                response_body_mode: NONE
                response_trailer_mode: SKIP
              send_body_without_waiting_for_header_response: true
              allow_content_length_header: true
              forward_rules: {allowed_headers: {patterns: [{exact: ":path"}, {exact: "content-type"}]}}
{{- end}}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
{{- range .Clusters}}
  - name: "{{.Name}}"
    type: STATIC
    circuit_breakers:
      thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000, max_retries: 100000}]
    load_assignment:
      cluster_name: "{{.Name}}"
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: "{{.Host}}", port_value: {{.Port}}}}}}]}]
{{- end}}
{{- if .ExtProc}}
  - name: floor
    type: STATIC
    circuit_breakers:
      thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000, max_retries: 100000}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: floor
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: "{{.ExtProc}}"}}}}]}]
{{- end}}
`))

// shuntConfig is a shunt.yaml with everything on that is on by default, and a file
// sink. Its keys are no secrets.
func shuntConfig(listen, admin string, provider [sites]string) []byte {
	return fmt.Appendf(nil, `listen: %s
admin: %s
data_dir: data
providers:
  quick: {endpoint: "http://%s/v1", api_key: bench-fast}
  down: {endpoint: "http://%s/v1", api_key: bench-down}
  slow: {endpoint: "http://%s/v1", api_key: bench-slow, timeout: {idle: 2m}}
models:
  simple:
    price: {prompt: 0.5, completion: 2.6}
    offers: [{provider: quick, model: bench, price: {prompt: 0.6, completion: 2.5}}]
  failover:
    price: {prompt: 0.5, completion: 2.6}
    default_providers: [down, quick]
    offers:
      - {provider: down, model: bench, price: {prompt: 0.6, completion: 2.5}}
      - {provider: quick, model: bench, price: {prompt: 0.6, completion: 2.5}}
  held:
    price: {prompt: 0.5, completion: 2.6}
    offers: [{provider: slow, model: bench, price: {prompt: 0.6, completion: 2.5}}]
# A provider that always fails is soon left alone; here each request is to meet it.
routing:
  health: {cooldowns: false, explore: 0%%}
billing:
  sinks: [{file: events.jsonl}]
`, listen, admin, provider[siteFast], provider[siteDown], provider[siteHeld])
}
