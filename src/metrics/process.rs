//! The `process_*` families that every Prometheus dashboard knows, from `/proc`.

use procfs::process::{LimitValue, Process as Proc};
use procfs::{ProcResult, boot_time_secs, page_size, ticks_per_second};
use prometheus::Error;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::scrape::{Family, describe};

/// The families, in the order of [`read`]; the first is a counter, the others are gauges.
const FAMILIES: [(&str, &str); 6] = [
    ("process_cpu_seconds_total", "Processor time of this process, in seconds."),
    ("process_open_fds", "Files and sockets open."),
    ("process_max_fds", "The most files and sockets that may be open."),
    ("process_resident_memory_bytes", "Memory in use."),
    ("process_virtual_memory_bytes", "Address space in use, files that are mapped included."),
    ("process_start_time_seconds", "When this process began, in seconds since 1970."),
];

/// Reads `/proc/self` at each scrape.
pub(super) struct Process {
    descs: Vec<Desc>,
}

impl Process {
    pub(super) fn new() -> Result<Self, Error> {
        let descs =
            FAMILIES.iter().map(|(name, help)| describe(name, help, &[])).collect::<Result<_, _>>()?;
        Ok(Self { descs })
    }
}

/// The values of [`FAMILIES`].
fn read() -> ProcResult<[f64; 6]> {
    let process = Proc::myself()?;
    let stat = process.stat()?;
    let ticks = ticks_per_second() as f64;
    let max_fds = match process.limits()?.max_open_files.soft_limit {
        LimitValue::Value(n) => n as f64,
        LimitValue::Unlimited => f64::INFINITY,
    };
    Ok([
        (stat.utime + stat.stime) as f64 / ticks,
        process.fd_count()? as f64,
        max_fds,
        stat.rss as f64 * page_size() as f64,
        stat.vsize as f64,
        boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
    ])
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Where /proc cannot be read these families are absent, as Prometheus's own clients do it.
        let Ok(values) = read() else { return Vec::new() };
        let family = |(i, (desc, value)): (usize, (&Desc, f64))| {
            let empty = if i == 0 { Family::counter(desc) } else { Family::gauge(desc) };
            empty.with(value)
        };
        self.descs.iter().zip(values).enumerate().map(family).collect()
    }
}
