//! CPU and memory of processes, from /proc: all threads, so that a JVM's collector counts.

use std::fs;

/// CPU seconds, user and system, that a process has used since its start; 0 for a process that is not there.
#[must_use]
pub fn cpu(pid: u32) -> f64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0.0 };
    // The name, in parentheses, may hold spaces; utime and stime are the 14th and 15th field.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    ticks(fields.skip(11).take(2))
}

/// CPU seconds that the machine was busy with anything, stolen ones included.
#[must_use]
pub fn machine_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // Without idle and iowait, the 4th and 5th; guests are counted in user time already.
    ticks(fields.take(8).enumerate().filter(|(i, _)| !(3..5).contains(i)).map(|(_, field)| field))
}

fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> f64 {
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Resident memory of a process in KiB.
#[must_use]
pub fn resident_kib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}
