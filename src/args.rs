//! The command line: `braid [server.properties] [--override key=value]...`, as Kafka's start script has it,
//! and the tools `braid dump` and `braid check`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// What stands above the options in `--help`.
const ABOUT: &str = "\
A Kafka-compatible broker: starts in milliseconds, serves any Kafka client, and answers
acks=all only when the records are on stable storage.";

/// What stands below the options in `--help`.
const MORE: &str = "\
Examples:
  braid
      listens on localhost:9092 and keeps its data in ./data
  braid --override listeners=PLAINTEXT://:9092 --override log.dirs=/var/lib/braid
      listens on all interfaces; set advertised.listeners too if clients know this machine by another name
  braid config/server.properties --override braid.durability=written
      a Kafka configuration as it is, answering before records are synced, as one Kafka broker does

Data: in the folders of log.dirs (./data), in Kafka's own file format.
Metrics and health: http://localhost:8081/metrics and /healthz (http.listeners; empty switches them off).
Logs: on stderr; RUST_LOG=debug tells more, braid.log.format=json is for machines; levels change while it
runs with kafka-configs --entity-type broker-loggers.

Every setting can come from the environment as in Kafka's container images: KAFKA_LOG_RETENTION_HOURS=1 sets
log.retention.hours (__ stands for _ and ___ for -). An override is stronger than the environment, the
environment is stronger than the file, and the file is stronger than the default.
`braid --settings` lists every setting with its default and what it does.";

/// What stands below the options in `braid dump --help`.
const DUMP: &str = "\
The name tells what a file is: .log, .index, .timeindex, .txnindex and .snapshot of a segment,
leader-epoch-checkpoint and partition.metadata of a partition, meta.properties and the checkpoints of a data
folder. The words are those of kafka-dump-log. A broker may be running: what it is writing may look torn.

Exit code: 0 if nothing is wrong with the file; 1 if something is, and the last lines say where and what.

Examples:
  braid dump data/orders-0/00000000000000000000.log --records
  braid dump data/recovery-point-offset-checkpoint";

/// What stands below the options in `braid check --help`.
const CHECK: &str = "\
Reads every batch of every segment (CRC, offsets, each record) and compares with it the indexes, producer
snapshots, leader epochs, topic ids and checkpoints. Changes nothing. Stop the broker first: a folder in use
is refused. Several partitions are read at a time; a long check says on stderr how far it is.

A line for each thing found names the file, the offset and the position: a `problem` is damage or loss;
`harmless` is what a crash leaves and the next start mends, or what is only made again. The last line sums up.

Exit code: 0 if there is no problem, 1 if there is one or the folder cannot be checked.

Examples:
  braid check /var/lib/braid
  braid check /var/lib/braid/orders-0";

/// What the command line says.
#[derive(Debug, Parser)]
#[command(name = "braid", version, about = ABOUT, after_help = MORE, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// A tool to run instead of the broker.
    #[command(subcommand)]
    pub tool: Option<Tool>,

    /// A properties file with settings, such as Kafka's server.properties
    #[arg(value_name = "server.properties")]
    pub file: Option<PathBuf>,

    /// One setting; may be repeated
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = pair)]
    pub overrides: Vec<(String, String)>,

    /// List every setting with its default and what it does
    #[arg(long)]
    pub settings: bool,
}

/// What braid can do besides being a broker.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum Tool {
    /// Show what is in a file of a data folder
    #[command(after_help = DUMP)]
    Dump {
        /// A file of a partition or of a data folder
        file: PathBuf,
        /// Show every record, not only the batches
        #[arg(long)]
        records: bool,
    },
    /// Verify a data folder, or one partition's folder
    #[command(after_help = CHECK)]
    Check {
        /// A folder of log.dirs, or the folder of a partition in it
        dir: PathBuf,
    },
}

/// Splits `key=value`; a value may contain `=` and may be empty.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE, such as --override num.partitions=3".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once(&"braid").chain(words))
    }

    #[test]
    fn file_and_overrides_in_any_order() {
        let args = parse(&["a.properties", "--override", "a.b=c=d", "--override", "x="]).unwrap();
        assert_eq!(args.file, Some("a.properties".into()));
        assert_eq!(args.overrides, [("a.b".into(), "c=d".into()), ("x".into(), String::new())]);
        let args = parse(&["--override=a=b", "f"]).unwrap();
        assert_eq!((args.overrides.len(), args.file), (1, Some("f".into())));
        assert!(parse(&[]).unwrap().file.is_none());
    }

    #[test]
    fn a_wrong_argument_says_what_to_do() {
        let say = |words: &[&str]| parse(words).unwrap_err().to_string();
        assert!(
            say(&["--override", "num.partitions"]).contains("KEY=VALUE, such as --override num.partitions=3")
        );
        assert!(say(&["--overide", "a=b"]).contains("--override"));
        assert!(say(&["a", "b"]).contains("'b'"));
        Args::command().debug_assert();
    }

    #[test]
    fn a_tool_is_named_first_and_everything_else_is_the_broker() {
        let tool = |words: &[&str]| parse(words).unwrap().tool;
        let dump = |records| Some(Tool::Dump { file: "x.log".into(), records });
        assert_eq!(tool(&["dump", "x.log"]), dump(false));
        assert_eq!(tool(&["dump", "--records", "x.log"]), dump(true));
        assert_eq!(tool(&["check", "data"]), Some(Tool::Check { dir: "data".into() }));
        assert_eq!((tool(&["server.properties"]), tool(&["--settings"])), (None, None));
        assert_eq!(parse(&["./dump"]).unwrap().file, Some("./dump".into()));
        assert!(parse(&["dump"]).is_err() && parse(&["--override", "a=b", "check", "data"]).is_err());
    }

    #[test]
    fn help_teaches_and_its_lines_are_short() {
        let help = Args::command().render_help().to_string();
        for word in ["Examples:", "./data", "KAFKA_LOG_RETENTION_HOURS=1", "--settings", "/metrics"] {
            assert!(help.contains(word), "{word}");
        }
        assert!([MORE, DUMP, CHECK].iter().all(|text| text.lines().all(|line| line.len() <= 110)));
    }
}
