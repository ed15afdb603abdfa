//! What the drivers of the Rust clients share: calls come in, answers go out, as compat/drive/protocol.md says.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One call, with all the arguments that any may have; those that it was not given are empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Call {
    /// What to do.
    #[serde(rename = "do")]
    pub what: String,
    /// The topic that it is about.
    pub topic: String,
    /// The topics to subscribe to.
    pub topics: Vec<String>,
    /// A partition; none: by key.
    pub partition: Option<i32>,
    /// How many partitions, or which: see [`Call::count`] and [`Call::list`].
    pub partitions: Value,
    /// How many replicas.
    pub replicas: Option<i32>,
    /// Settings of a new topic.
    pub config: std::collections::BTreeMap<String, String>,
    /// "0", "1" or "all".
    pub acks: Option<String>,
    /// The name of a compression.
    pub codec: Option<String>,
    /// Whether the producer is to be idempotent.
    pub idempotent: bool,
    /// The producer's transactional id.
    pub transactional_id: Option<String>,
    /// The longest age of metadata, in milliseconds.
    pub refresh_ms: Option<u32>,
    /// What to send.
    pub records: Vec<Record>,
    /// A group.
    pub group: String,
    /// The protocol of a group, "classic" or "consumer".
    pub protocol: Option<String>,
    /// "cooperative", or none.
    pub assignor: Option<String>,
    /// The name of a static member.
    pub instance: Option<String>,
    /// After what silence a member is gone, in milliseconds.
    pub session_ms: Option<u32>,
    /// An offset, "earliest" or "latest".
    pub offset: Value,
    /// "read_committed" or "read_uncommitted".
    pub isolation: Option<String>,
    /// How many octets a fetch waits for.
    pub min_bytes: Option<i32>,
    /// And for how many milliseconds at most.
    pub wait_ms: Option<i32>,
    /// How long to poll, in milliseconds.
    pub ms: u64,
    /// A time, in milliseconds since 1970.
    pub time: i64,
    /// How many partitions there are to be.
    pub total: usize,
    /// The name of a setting.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The first offset to keep.
    pub before: i64,
}

impl Call {
    /// Of a new topic, how many partitions it is to have.
    pub fn count(&self) -> i32 {
        self.partitions.as_i64().and_then(|count| i32::try_from(count).ok()).unwrap_or(1)
    }

    /// Which partitions are asked for.
    pub fn list(&self) -> Vec<i32> {
        serde_json::from_value(self.partitions.clone()).unwrap_or_default()
    }

    /// The one partition that is asked for.
    pub fn part(&self) -> i32 {
        self.partition.unwrap_or_default()
    }

    /// The offset, where it is a number.
    pub fn number(&self) -> i64 {
        self.offset.as_i64().unwrap_or_default()
    }
}

/// A record, to be sent or as it came.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Record {
    /// Its partition, of one that came.
    pub partition: i32,
    /// And its offset.
    pub offset: i64,
    /// The key.
    pub key: Option<String>,
    /// The value.
    pub value: Option<String>,
    /// Names and values.
    pub headers: Vec<(String, Option<String>)>,
    /// Its time, in milliseconds since 1970.
    pub time: Option<i64>,
}

/// The octets as text; they were text when they were sent.
pub fn text(octets: Option<&[u8]>) -> Option<String> {
    octets.map(|octets| String::from_utf8_lossy(octets).into_owned())
}

/// Why a call was refused.
#[derive(Debug)]
pub struct Refusal {
    /// Kafka's code, or -1 where the client has none.
    pub code: i32,
    /// The client's name for it.
    pub name: String,
    /// All that it says.
    pub text: String,
}

impl Refusal {
    /// A refusal for which the client has no code of Kafka's.
    pub fn unknown(what: impl std::fmt::Display) -> Self {
        Self { code: -1, name: "Error".into(), text: what.to_string() }
    }
}

/// What a call is answered with.
pub type Answer = Result<Value, Refusal>;

/// A client under test.
pub trait Client {
    /// Do what the call says.
    fn answer(&mut self, call: Call) -> impl Future<Output = Answer>;
}

/// Answer the calls on the input until it ends. It reads without regard for other tasks on this thread: they have
/// threads of their own.
pub async fn serve(mut client: impl Client) -> anyhow::Result<()> {
    for line in std::io::stdin().lock().lines() {
        let answer = match client.answer(serde_json::from_str(&line?)?).await {
            Ok(answer) => json!({ "ok": answer }),
            Err(refusal) => {
                eprintln!("{refusal:?}");
                json!({ "error": { "code": refusal.code, "type": refusal.name, "text": refusal.text } })
            }
        };
        let mut output = std::io::stdout().lock();
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}
