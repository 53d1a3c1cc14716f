# The binary is static and reproducible; the Envoy beside it is the official one.
#   docker build -t shunt . && docker run -p 10000:10000 -v "$PWD/shunt.yaml:/etc/shunt/shunt.yaml:ro" shunt
# Mount a directory or volume at /var/lib/shunt and set data_dir to it, to keep what must survive.

FROM golang:1.26.8-bookworm@sha256:a688600ca24f8a4d3ca77f95b0dd40704a9fc787c826660eb7ba0b641b8b175d AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN make build VERSION="$VERSION" BIN=/out/shunt && mkdir -p /out/data

FROM envoyproxy/envoy:distroless-v1.40.0
COPY --from=build /out/shunt /usr/local/bin/shunt
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /var/lib/shunt
ENV ENVOY=/usr/local/bin/envoy
WORKDIR /var/lib/shunt
USER 65532:65532
EXPOSE 10000
STOPSIGNAL SIGTERM
# shunt's own /healthz and /readyz are on the admin address; an orchestrator asks
# there. It is on loopback unless the configuration says otherwise.
HEALTHCHECK NONE
ENTRYPOINT ["/usr/local/bin/shunt"]
CMD ["run", "-c", "/etc/shunt/shunt.yaml", "--listen", "0.0.0.0:10000"]
