# Two commands do everything: `make run` (a real Pod) and `make test` (everything CI runs).
.PHONY: all run test
BUILT = $${CARGO_TARGET_DIR:-target}/$$(uname -m)-unknown-linux-gnu/release
# The helper program that plays the example is built along: what it needs is built for `minke` anyway.
all:
	cargo build --release --package minke --package xtask
	mkdir -p dist && cp -f "$(BUILT)/minke" dist/minke
run: all
	"$(BUILT)/xtask" run
test:
	cargo xtask ci
