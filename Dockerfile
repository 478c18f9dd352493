# The image of the daemon: ipamd, the plugin that it installs beside it, nft, and iptables of both
# kinds, with which rules that the peer left are taken away.
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

FROM docker.io/library/debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates iptables nftables \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /app/
ENTRYPOINT ["/app/ipamd"]
