//! What the load generator and the floor share: the little of Kafka's wire format that both speak, record
//! batches, and how much of the machine a process has used.

/// Record batches, made once and sent many times.
pub mod batch;
/// CPU and memory of processes, from /proc.
pub mod process;
/// Requests and answers of the versions before flexible ones.
pub mod wire;
