//! What is counted while a load runs, and the line that is printed at its end.

use braid_bench::process;
use serde::Serialize;

/// Counts since the warm-up.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    /// Bytes of batches, produced or fetched.
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    /// The error code of the last answer that had one.
    pub(crate) error: i16,
    /// Microseconds from the due time of a request to its answer.
    pub(crate) acks: Vec<f32>,
    /// Microseconds from the due time of a batch's request until a consumer has it.
    pub(crate) ends: Vec<f32>,
    cpu: Cpu,
    /// When counting began, in nanoseconds of the load's clock.
    pub(crate) began: u64,
}

/// CPU seconds at one moment.
#[derive(Debug, Default, Clone, Copy)]
struct Cpu {
    broker: f64,
    client: f64,
    machine: f64,
}

impl Cpu {
    fn now(broker: u32) -> Self {
        let client = process::cpu(std::process::id());
        Self { broker: process::cpu(broker), client, machine: process::machine_cpu() }
    }
}

/// The result of a load: one line of JSON.
#[derive(Debug, Serialize)]
struct Report {
    seconds: f64,
    mb_per_s: f64,
    requests_per_s: f64,
    records_per_s: f64,
    /// CPU seconds of the broker per 10^9 bytes of batches.
    broker_cpu_per_gb: f64,
    client_cpu_per_gb: f64,
    machine_cpu_per_gb: f64,
    broker_us_per_request: f64,
    /// CPU of neither the broker nor the client, in percent of the whole machine.
    other_percent: f64,
    resident_kib: f64,
    ack_us: Option<Percentiles>,
    end_us: Option<Percentiles>,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    p50: f32,
    p99: f32,
    p999: f32,
    max: f32,
}

impl Percentiles {
    fn of(samples: &mut [f32]) -> Option<Self> {
        samples.sort_unstable_by(f32::total_cmp);
        let max = *samples.last()?;
        let at = |part: f64| samples[((samples.len() as f64 * part) as usize).min(samples.len() - 1)];
        Some(Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max })
    }
}

impl Tally {
    /// Notes an answer's error code, if it is one.
    pub(crate) fn note(&mut self, error: i16) {
        if error != 0 {
            self.error = error;
        }
    }

    /// Begins to count, at `now` nanoseconds.
    pub(crate) fn begin(now: u64, broker: u32) -> Self {
        Self { began: now, cpu: Cpu::now(broker), ..Self::default() }
    }

    /// The line to print, at `now` nanoseconds.
    pub(crate) fn report(mut self, now: u64, broker: u32) -> serde_json::Result<String> {
        let end = Cpu::now(broker);
        let seconds = (now - self.began) as f64 / 1e9;
        let gigabytes = self.bytes.max(1) as f64 / 1e9;
        let (broker_s, client_s) = (end.broker - self.cpu.broker, end.client - self.cpu.client);
        let machine_s = end.machine - self.cpu.machine;
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        serde_json::to_string(&Report {
            seconds,
            mb_per_s: gigabytes * 1e3 / seconds,
            requests_per_s: self.requests as f64 / seconds,
            records_per_s: self.records as f64 / seconds,
            broker_cpu_per_gb: broker_s / gigabytes,
            client_cpu_per_gb: client_s / gigabytes,
            machine_cpu_per_gb: machine_s / gigabytes,
            broker_us_per_request: broker_s * 1e6 / self.requests.max(1) as f64,
            other_percent: (machine_s - broker_s - client_s).max(0.0) / (seconds * cores) * 100.0,
            resident_kib: process::resident_kib(broker),
            ack_us: Percentiles::of(&mut self.acks),
            end_us: Percentiles::of(&mut self.ends),
        })
    }
}
