# The commands of a working day; `just` alone lists them.

_list:
    @just --list --unsorted

# Serve with a configuration file
run config="config/gateway.toml":
    cargo run --release -- run --config {{config}}

# The whole system on this machine, to try
demo replicas="3":
    cargo run --release -- demo --replicas {{replicas}}

# Everything that must hold before a change lands
check:
    .ci/run

# The tests, or those whose name contains FILTER
test filter="":
    cargo nextest run --locked {{filter}}
    cargo test --locked --doc {{filter}}

# The generated documents and golden configurations, written anew
update:
    UPDATE=1 cargo test --locked --test documents
    UPDATE_CASES=1 cargo test --locked --test config cases

# Format
fmt:
    cargo fmt

# What the compiler and clippy have to say
lint:
    cargo clippy --locked --all-targets -- -D warnings

# The library's documentation, in a browser
doc:
    cargo doc --no-deps --lib --open

# Benchmarks
bench filter="":
    cargo bench --locked {{filter}}

# Reloads, a killed backend and rolling updates under load, each for MINUTES
soak minutes="1":
    SOAK_MINUTES={{minutes}} cargo test --release --locked --test soak -- --ignored --nocapture --test-threads 1

# The stack on a real Docker Swarm, as root
swarm:
    tests/swarm/run.sh

# The container image
image tag="tollgate:latest":
    docker build -f deploy/Dockerfile -t {{tag}} .

# Known vulnerabilities in what the binary is made of
audit:
    cargo deny check advisories
