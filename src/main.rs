//! The braid program: arguments, settings, log, and then the broker until a signal ends it; or a tool.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use braid::args::{Args, Tool};
use braid::config::{self, Loaded};
use braid::logging;
use braid::tools::{self, Failure};
use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.tool {
        Some(tool) => return run(tool),
        None if args.settings => print(&config::settings_text()),
        None => start(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("braid: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a tool; the exit code says whether what it looked at is sound.
fn run(tool: &Tool) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match tool {
        Tool::Dump { file, records } => tools::dump::dump(file, *records, &mut out),
        Tool::Check { dir } => tools::check::check(dir, &mut out),
    };
    match done.and_then(|sound| Ok(out.flush().map(|()| sound)?)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("braid: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the settings and runs the broker. The error is one line for people.
fn start(args: &Args) -> Result<(), String> {
    let environment =
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let Loaded { config, notes } =
        config::load(args.file.as_deref(), environment, &args.overrides).map_err(line)?;
    let filter = logging::begin(config.braid_log_format)?;
    log_panics();
    for note in notes {
        warn!("{note}");
    }
    let runtime = runtime().map_err(|e| format!("cannot start threads: {e}"))?;
    runtime.block_on(async {
        let signals = Signals::new().map_err(|e| format!("cannot listen for signals: {e}"))?;
        braid::run(config, filter, signals.stop()).await.map_err(line)
    })
}

/// A thread for each processor.
fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().thread_name("braid").build()
}

fn line(error: impl Display) -> String {
    error.to_string().replace('\n', " ")
}

/// Prints and lets the reader close the pipe early (`braid --settings | head`).
fn print(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot print: {e}")),
        _ => Ok(()),
    }
}

/// A panic is a bug: it is logged like everything else, in one line.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let words = panic.payload_as_str().unwrap_or("no words");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "bug: {words}");
    }));
}

/// The signals that end the broker.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Completes at the first signal. The second one ends the process at once, for a shutdown that hangs.
    async fn stop(mut self) {
        let name = self.next().await;
        info!("{name}: shutting down");
        tokio::spawn(async move {
            let name = self.next().await;
            error!("{name} again: not waiting for the shutdown");
            std::process::exit(1);
        });
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
