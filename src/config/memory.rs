//! How much memory this process may use, for limits that are a part of it.

use std::fs;

/// Bytes of memory of the machine, or of the control group if that is less.
pub(super) fn available() -> i64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<i64>().ok());
    // Where neither can be read, a gigabyte: small enough for any machine that runs a broker.
    [machine, group].into_iter().flatten().min().unwrap_or(1 << 30)
}

/// `MemTotal:  24576 kB`, in bytes.
fn total(meminfo: &str) -> Option<i64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<i64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_memory_is_read_in_bytes() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:   24 kB\n"), Some(24_576));
        assert_eq!(total("nothing"), None);
        assert!(available() >= 64 << 20);
    }
}
