# syntax=docker/dockerfile:1
# Gratis in a container: `docker build -t gratis .`, then
#   docker run --rm -v gratis-state:/var/lib/gratis -e DASHSCOPE_API_KEY gratis init --assume-full
#   docker run -d --name gratis -p 8080:8080 -p 127.0.0.1:8081:8081 -v gratis-state:/var/lib/gratis -e DASHSCOPE_API_KEY gratis

FROM rust:1.95-bookworm AS build
WORKDIR /src
# First the dependencies alone, over empty sources, so that a change of our own code does not build them again.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it benches \
    && echo '//! Empty.' > src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && touch tests/it/main.rs README.md \
    && for bench in $(sed -n '/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"/\1/p' Cargo.toml); do touch "benches/$bench.rs"; done \
    && cargo build --release --locked --lib --bin gratis
COPY . .
# Newer than what was built over the empty sources.
RUN touch src/lib.rs src/main.rs && cargo build --release --locked --bin gratis
# The state folder with the owner that runs the program: the last stage has no shell to make it.
RUN mkdir -p /state

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/gratis /usr/local/bin/gratis
COPY --from=build --chown=nonroot:nonroot /state /var/lib/gratis
# Everything that is written: the ledger, the pepper, the operator's token. A local disk.
VOLUME /var/lib/gratis
# Within a container, loopback is out of reach for everyone: what is published (-p) decides who gets to the ports.
ENV GRATIS_SERVER__LISTEN=0.0.0.0:8080 \
    GRATIS_ADMIN__LISTEN=0.0.0.0:8081 \
    GRATIS_STORE__STATE_DIR=/var/lib/gratis
# 8080 clients, 8081 operators.
EXPOSE 8080 8081
USER nonroot
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["gratis", "health"]
ENTRYPOINT ["gratis"]
CMD ["serve"]
