# The image of the daemon: ipamd, the plugin that it installs beside it, the reference plugins that a
# node may lack, nft, and iptables of both kinds, with which rules that the peer left are taken away.
#
#   docker build --tag eni-cni .            for this machine's architecture
#   docker buildx build --platform linux/amd64,linux/arm64 …

FROM docker.io/library/rust:1.95.0-slim-bookworm AS build
WORKDIR /src
# rust-toolchain.toml asks for lints and formatter as well: not here.
ENV RUSTUP_TOOLCHAIN=1.95.0
# The standard library for a plugin without shared libraries; see .cargo/config.toml.
RUN rustup target add "$(uname -m)-unknown-linux-musl"
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    set -eu; \
    plugin="$(scripts/plugin)"; \
    scripts/daemon release; \
    mkdir /out; \
    cp "$plugin" target/release/ipamd /out/

# Images of EKS have none, and containerd runs `loopback` for every sandbox.
FROM docker.io/library/golang:1.26-bookworm AS plugins
ARG PLUGINS=v1.9.1
RUN set -eu; \
    from=github.com/containernetworking/plugins; \
    list=; \
    for plugin in main/bridge main/dummy main/host-device main/ipvlan main/loopback main/macvlan \
        main/ptp main/tap main/vlan ipam/dhcp ipam/host-local ipam/static meta/bandwidth \
        meta/firewall meta/portmap meta/sbr meta/tuning meta/vrf; do \
        list="$list $from/plugins/$plugin@$PLUGINS"; \
    done; \
    version="-X $from/pkg/utils/buildversion.BuildVersion=$PLUGINS"; \
    CGO_ENABLED=0 GOBIN=/out go install -trimpath -ldflags "-s -w $version" $list

FROM docker.io/library/debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates iptables nftables \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /app/
COPY --from=plugins /out/ /app/cni-plugins/
# The name of the peer's daemon, which the EKS node monitoring agent looks for.
RUN ln -s ipamd /app/aws-k8s-agent
ENTRYPOINT ["/app/aws-k8s-agent"]
