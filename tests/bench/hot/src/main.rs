//! Counts the instructions of the hot paths, and holds them against those that are written down: unlike
//! times, they are the same on a busy machine. The table is tests/bench/instructions.txt. Needs valgrind.
//!
//!   cargo run --release --manifest-path tests/bench/hot/Cargo.toml              compare with the table
//!   cargo run --release --manifest-path tests/bench/hot/Cargo.toml -- --write   write them down
//!
//! One more in twenty is too many. One less in five wants to be written down, so that it cannot creep back.
//! Another compiler changes all of them a little: then nothing is compared. The kernel is in no count.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use braid_hot::{SCENARIOS, Work};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../instructions.txt");
const HEAD: &str = "# Instructions of the hot paths, each once; written by hot/src/main.rs.";
const BLESS: &str =
    "if that is meant: cargo run --release --manifest-path tests/bench/hot/Cargo.toml -- --write";
/// How often a path is gone, so that what is done only now and then has its share.
const TIMES: u64 = 100;
/// The least and the most that are let pass, in percent of what is written down.
const LEAST: u64 = 80;
const MOST: u64 = 105;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["--write"] => Ok(fs::write(TABLE, table(&compiler()?, &measured()?))?),
        // Under valgrind.
        ["--one", name] => one(name),
        _ => bail!("instructions [--write]"),
    }
}

/// Everything in here is counted, and nothing else.
#[inline(never)]
fn counted(work: &mut Work) {
    for _ in 0..TIMES {
        work();
    }
}

fn one(name: &str) -> Result<()> {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).context("no such path")?;
    let folder = tempfile::tempdir()?;
    let mut work = (scenario.prepare)(folder.path());
    // What is done the first time only.
    work();
    counted(&mut work);
    Ok(())
}

fn measured() -> Result<BTreeMap<String, u64>> {
    SCENARIOS.iter().map(|scenario| Ok((scenario.name.to_owned(), count(scenario.name)?))).collect()
}

fn count(name: &str) -> Result<u64> {
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=instructions::counted*")
        .arg(env::current_exe()?)
        .args(["--one", name])
        .output()
        .context("valgrind, which scripts/install gets")?;
    let printed = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{name}: {printed}");
    let number =
        printed.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    let number = number.with_context(|| format!("{name}: valgrind has counted nothing\n{printed}"))?;
    ensure!(number > TIMES, "{name}: valgrind has not found what to count");
    Ok(number / TIMES)
}

/// The compiler that cargo uses here.
fn compiler() -> Result<String> {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let out = Command::new(rustc).arg("--version").output()?;
    Ok(format!("# {}", String::from_utf8_lossy(&out.stdout).trim()))
}

fn table(compiler: &str, counts: &BTreeMap<String, u64>) -> String {
    counts.iter().fold(format!("{HEAD}\n{compiler}\n"), |mut text, (name, count)| {
        let _ = writeln!(text, "{count:>8} {name}");
        text
    })
}

fn compare() -> Result<()> {
    let text = fs::read_to_string(TABLE).context(TABLE)?;
    let compiler = compiler()?;
    if !text.lines().any(|line| line == compiler) {
        println!("instructions.txt is of another compiler than this, {compiler}: not compared");
        return Ok(());
    }
    let counts = measured()?;
    let mut written = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (count, name) = line.trim().split_once(' ').context("a line without a space")?;
        written.insert(name.to_owned(), count.parse::<u64>()?);
    }
    ensure!(written.keys().eq(counts.keys()), "instructions.txt has other paths than the program; {BLESS}");
    let mut changed = false;
    for ((name, count), before) in counts.iter().zip(written.values()) {
        let verdict = match count * 100 {
            now if now > before * MOST => "too many",
            now if now < before * LEAST => "so few that they should be written down",
            _ => continue,
        };
        println!("{name}: {count} instructions, were {before}: {verdict}");
        changed = true;
    }
    ensure!(!changed, "the instructions of a hot path have changed; {BLESS}");
    Ok(())
}
