//! The time of the hot paths: `cargo bench --manifest-path tests/bench/hot/Cargo.toml`.
#![allow(missing_docs, reason = "the macros below write functions")]

use braid_hot::SCENARIOS;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn hot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hot");
    for scenario in SCENARIOS {
        let folder = tempfile::tempdir().expect("a folder");
        let mut work = (scenario.prepare)(folder.path());
        if scenario.bytes > 0 {
            group.throughput(Throughput::Bytes(scenario.bytes));
        } else {
            group.throughput(Throughput::Elements(1));
        }
        group.bench_function(scenario.name, |bencher| bencher.iter(&mut work));
    }
    group.finish();
}

criterion_group!(benches, hot);
criterion_main!(benches);
