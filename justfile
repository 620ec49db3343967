# The words people type. `just check` is exactly what CI runs after the tests.

default:
    @just --list

# formatting, lints, docs, dependencies
check: fmt clippy doc deny graph

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# advisories need the network's advisory database: `just advisories`, in the published workflow
deny:
    cargo deny --locked check licenses bans sources

advisories:
    cargo deny check advisories

# the decision, the identities and the accounts must not know sockets
graph:
    ! cargo tree -p masugata-policy -e normal --prefix none | grep -E '^(tokio|hyper|rustls|http) '
    ! cargo tree -p masugata-certs -e normal --prefix none | grep -E '^(tokio|hyper|cedar-policy|masugata-policy) '
    ! cargo tree -p masugata-idp -e normal --prefix none | grep -E '^(hyper|rustls|cedar-policy|masugata|masugata-policy|masugata-certs) '

test:
    cargo test --workspace

# behaviour through the front door only
it *FILTER:
    cargo test -p masugata-tests --test it -- {{FILTER}}

# people in a real browser (Debian: chromium, libnss3-tools, nodejs, npm; root or a user namespace, for the browser's policies)
browser *ARGS:
    cargo build -p masugata --locked
    cd tests/browser && npm ci --no-audit --no-fund && npm test -- {{ARGS}}

demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# one fuzz target for a minute, e.g. `just fuzz h1_guard` (needs cargo-fuzz and a nightly toolchain)
fuzz TARGET:
    cd tests/fuzz && cargo +nightly fuzz run {{TARGET}} -- -max_total_time=60

# micro-benchmarks
bench *FILTER:
    cargo bench -p masugata-benches --profile dist -- {{FILTER}}

# beside nginx, HAProxy and Envoy, where they are installed
compare *ARGS:
    cargo run --profile dist -p masugata-benches --bin compare -- {{ARGS}}

# the way out beside squid (Debian: squid-openssl), where it is installed
compare-egress *ARGS:
    cargo run --profile dist -p masugata-benches --bin compare -- egress {{ARGS}}
