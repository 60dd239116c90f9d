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

# Fuzz one target: frames, messages, engine, formats or as_map.
fuzz target seconds="60":
    cargo fuzz run --sanitizer none {{target}} -- -max_total_time={{seconds}}

# Write the snapshots of the scenario tests anew; read the diff before you commit it.
snapshots:
    UPDATE_EXPECT=1 cargo test -p peerpool-core --test it --test bad_input
    UPDATE_EXPECT=1 cargo test -p peerpool-sim --lib scenario

# List the public items of the two libraries anew; read the diff before you commit it.
api:
    bash docs/api/check --update

# Time to full and what holding peers costs, with raw runs in `dir`; about half an hour.
bench dir:
    cargo build --release --bin peerpool
    target/release/peerpool bench fill --shares 100/100,90/20,30/20 --raw {{dir}}/fill.jsonl
    target/release/peerpool bench fill --shares 5/5 --jobs 5 --timeout 10min --raw {{dir}}/fill-5.jsonl
    target/release/peerpool bench fill --shares 100/100,90/20,30/20 --latency 80ms --raw {{dir}}/fill-80ms.jsonl
    target/release/peerpool bench fill --shares 5/5 --latency 80ms --jobs 5 --timeout 10min --raw {{dir}}/fill-5-80ms.jsonl
    target/release/peerpool bench fill --gossip-ages core --jobs 8 --timeout 5min --raw {{dir}}/fill-aged.jsonl
    target/release/peerpool bench fill --warm --shares 90/20,30/20 --raw {{dir}}/fill-warm.jsonl
    target/release/peerpool bench hold --raw {{dir}}/hold.jsonl

# So many swarm runs, each a virtual day drawn from its seed: faults first, then convergence.
swarm n="1000" first="1":
    cargo run --release --bin peerpool -- sim --scenario swarm --seed {{first}} --seeds {{n}} --jobs "$(nproc)"

# Every attack, in the numbers that its description names; three minutes.
attacks:
    cargo build --release --bin peerpool
    for name in $(target/release/peerpool sim --list | grep -o '^a[0-9][^ ]*'); do target/release/peerpool sim --scenario "$name" || exit 1; done

# What an attacker holds of a pool's slots, by our rules and by Core's, 20 seeds of six attackers each,
# with raw runs in `dir`; some ten minutes on two cores.
eclipse dir:
    cargo build --release --bin peerpool
    target/release/peerpool bench eclipse --plain --seeds 20 --jobs "$(nproc)" --raw {{dir}}/pool.jsonl
    target/release/peerpool bench eclipse --plain --seeds 20 --rules core --jobs "$(nproc)" --raw {{dir}}/core.jsonl
