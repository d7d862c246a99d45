# Two commands do everything: `make run` (a real Pod) and `make test` (everything CI runs).
.PHONY: all run test
all:
	cargo build --release --package minke
	mkdir -p dist && cp -f "$${CARGO_TARGET_DIR:-target}/$$(uname -m)-unknown-linux-gnu/release/minke" dist/minke
run: all
	cargo xtask run
test:
	cargo xtask ci
