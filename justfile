# Each recipe is a plain line; .ci/run needs none of them.

# Everything that must hold before a change lands.
ci:
    bash .ci/run

# Unit, scenario, devnet and (where litecoind is installed) real-node tests.
test:
    cargo test --workspace --all-features

# Format and lint.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets --all-features

# The pool against a stand-in network of 1,000 nodes.
demo *args:
    cargo run --release --bin peerpool -- demo {{args}}

# Rustdoc, opened in a browser.
doc:
    cargo doc --workspace --no-deps --all-features --open

# Fuzz one target: frames, messages or engine.
fuzz target seconds="60":
    cargo fuzz run --sanitizer none {{target}} -- -max_total_time={{seconds}}

# Write the snapshots of the scenario tests anew; read the diff before you commit it.
snapshots:
    UPDATE_EXPECT=1 cargo test -p peerpool-core --test it --test bad_input
