//! The `process_*` families that every Prometheus dashboard knows, and what this process reads and writes,
//! from `/proc`.

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, boot_time_secs, page_size, ticks_per_second};

use super::page::{Kind, Page};

/// The families, in the order of [`read`].
const FAMILIES: [(&str, Kind, &str); 8] = [
    ("process_cpu_seconds_total", Kind::Counter, "Processor time of this process, in seconds."),
    ("process_open_fds", Kind::Gauge, "Files and sockets open."),
    ("process_max_fds", Kind::Gauge, "The most files and sockets that may be open."),
    ("process_resident_memory_bytes", Kind::Gauge, "Memory in use."),
    ("process_virtual_memory_bytes", Kind::Gauge, "Address space in use, files that are mapped included."),
    ("process_start_time_seconds", Kind::Gauge, "When this process began, in seconds since 1970."),
    ("kafka_server_kafkaserver_linux_disk_read_bytes", Kind::Gauge, "Bytes this process had disks read."),
    ("kafka_server_kafkaserver_linux_disk_write_bytes", Kind::Gauge, "Bytes this process had disks write."),
];

/// The values of [`FAMILIES`]; none for one that cannot be read here.
fn read() -> ProcResult<[Option<f64>; 8]> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = ticks_per_second() as f64;
    let max_fds = match process.limits()?.max_open_files.soft_limit {
        LimitValue::Value(n) => Some(n as f64),
        LimitValue::Unlimited => None,
    };
    let io = process.io().ok();
    Ok([
        Some((stat.utime + stat.stime) as f64 / ticks),
        Some(process.fd_count()? as f64),
        max_fds,
        Some(stat.rss as f64 * page_size() as f64),
        Some(stat.vsize as f64),
        Some(boot_time_secs()? as f64 + stat.starttime as f64 / ticks),
        io.as_ref().map(|io| io.read_bytes as f64),
        io.as_ref().map(|io| io.write_bytes as f64),
    ])
}

/// Writes them. Where /proc cannot be read they are absent, as Prometheus's own clients do it.
pub(super) fn write(page: &mut Page) {
    let Ok(values) = read() else { return };
    for ((name, kind, help), value) in FAMILIES.iter().zip(values) {
        if let Some(value) = value {
            page.one(name, *kind, help, value);
        }
    }
}
