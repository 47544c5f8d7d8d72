# syntax=docker/dockerfile:1
#
# Solera as an image, on Debian 12. Linux on x86-64 only, processors since Intel Haswell or AMD Excavator.
#
#   docker build --tag solera .
#   docker run --rm solera version

ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /src
# First what rarely changes: the packages of a build, by the script that every build uses.
COPY scripts/deps.sh scripts/deps.sh
RUN scripts/deps.sh && rm -rf /var/lib/apt/lists/*
COPY . .
# RocksDB and librdkafka are nearly all of it: the cache keeps them between builds.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    SOLERA_BUILD_DATE="$(date -u +%FT%TZ)" SOLERA_BUILD_HOST="$(uname -m)" \
    cargo build --profile dist --workspace --locked \
    && cp target/dist/solera /usr/local/bin/solera

FROM debian:bookworm-slim
# libstdc++6 for RocksDB, libssl3 and zlib1g for librdkafka, its authorities for TLS to brokers; curl asks for health, and
# openssl makes the secrets of docker-compose.yml.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl libssl3 libstdc++6 openssl zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 900 solera \
    && useradd --system --uid 900 --gid solera --home-dir /var/lib/solera --shell /usr/sbin/nologin solera \
    && install -d -o solera -g solera -m 0750 /var/lib/solera /etc/solera
COPY --from=build /usr/local/bin/solera /usr/local/bin/solera
USER solera
VOLUME /var/lib/solera
EXPOSE 8081
ENTRYPOINT ["solera"]
CMD ["serve", "--config", "/etc/solera/config.yaml"]
