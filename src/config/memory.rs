//! How much memory this process may use, for limits that are a part of it.

use std::fs;
use std::path::Path;

/// Bytes of memory of the machine, or of the control group if that is less.
pub(super) fn available() -> i64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = |path: String| fs::read_to_string(path).ok()?.trim().parse::<i64>().ok();
    let group = limits(&groups).filter_map(limit).min();
    // Where neither can be read, a gigabyte: small enough for any machine that runs a broker.
    [machine, group].into_iter().flatten().min().unwrap_or(1 << 30)
}

/// The files that may limit the memory of a process, by its `/proc/self/cgroup`: those of its group and of
/// all above it, in both versions of control groups.
fn limits(groups: &str) -> impl Iterator<Item = String> + '_ {
    groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).flat_map(
        |(controllers, path)| {
            let (root, file) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.max"),
                _ => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            };
            let is_memory = controllers.is_empty() || controllers.split(',').any(|one| one == "memory");
            let above = Path::new(path).ancestors().filter(move |_| is_memory);
            above.map(move |group| {
                format!("{root}{}/{file}", group.display().to_string().trim_end_matches('/'))
            })
        },
    )
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
    fn the_limits_of_a_group_and_of_those_above_it_count() {
        let found: Vec<String> = limits("0::/a/b\n").collect();
        let expected =
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"];
        assert_eq!(found, expected);
        let found: Vec<String> = limits("5:cpu,memory:/x\n4:pids:/x\nnot a line\n").collect();
        let root = "/sys/fs/cgroup/memory";
        let file = "memory.limit_in_bytes";
        assert_eq!(found, [format!("{root}/x/{file}"), format!("{root}/{file}")]);
    }

    #[test]
    fn total_memory_is_read_in_bytes() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:   24 kB\n"), Some(24_576));
        assert_eq!(total("nothing"), None);
        assert!(available() >= 64 << 20);
    }
}
