# shellcheck shell=bash disable=SC2034,SC2164
# What the suites of Rust clients share: each test is a process of its own.

# rust_tests CRATE [OPTION]...: build the tests, and list their programs in the file `programs`
rust_tests() {
    vendored "$1"
    rm -f rust-toolchain.toml
    echo '[workspace]' >>Cargo.toml # it lies inside another
    [[ -z ${UPDATE:-} ]] || cargo update --package "$UPDATE"
    CARGO_TARGET_DIR=target cargo test --no-run --tests --message-format=json "${@:2}" |
        python3 -c 'import json, sys
for line in sys.stdin:
    built = json.loads(line)
    if built.get("executable") and built["target"]["kind"] == ["test"]:
        print(built["target"]["name"], built["executable"])' >programs
}

of_rust() { # CRATE
    local name program
    cd "$SUITES/$1"
    while read -r name program; do
        "$program" --list --format terse | sed -n "s|^\(.*\): test\$|$name $program \1|p"
    done <programs | grep -E "$ONLY" | in_parallel rust_test
}

rust_test() { # "NAME PROGRAM TEST"; a test that skips itself says so and passes
    local name program test result=fail began log
    read -r name program test <<<"$1"
    began=$(date +%s%N) log=$LOGS/$name:${test//:/_}.log
    if timeout -k 5 120 "$program" --exact "$test" --nocapture >"$log" 2>&1; then
        result=pass
        ! grep -qiE '^skipping|^test .* \.\.\. ignored' "$log" || result=skip
    fi
    echo "$name:$test $result $(since "$began")"
}
