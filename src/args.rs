//! The command line: `braid [server.properties] [--override key=value]...`, as Kafka's start script has it.

use std::path::PathBuf;

use clap::Parser;

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
Logs: on stderr; RUST_LOG=debug tells more, braid.log.format=json is for machines.

Every setting can come from the environment as in Kafka's container images: KAFKA_LOG_RETENTION_HOURS=1 sets
log.retention.hours (__ stands for _ and ___ for -). An override is stronger than the environment, the
environment is stronger than the file, and the file is stronger than the default.
`braid --settings` lists every setting with its default and what it does.";

/// What the command line says.
#[derive(Debug, Parser)]
#[command(name = "braid", version, about = ABOUT, after_help = MORE)]
pub struct Args {
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
        assert!(say(&["a", "b"]).contains("unexpected argument 'b'"));
        Args::command().debug_assert();
    }

    #[test]
    fn help_teaches_and_its_lines_are_short() {
        let help = Args::command().render_help().to_string();
        for word in ["Examples:", "./data", "KAFKA_LOG_RETENTION_HOURS=1", "--settings", "/metrics"] {
            assert!(help.contains(word), "{word}");
        }
        assert!(MORE.lines().all(|line| line.len() <= 110));
    }
}
