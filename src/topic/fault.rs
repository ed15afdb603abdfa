//! Why a partition said no, and what Kafka calls it.

use braid_protocol::ErrorCode;
use braid_storage::producers::ProducerError;
use braid_storage::{AppendError, Error, Invalid, ReadError, Refusal};

use super::status::Closed;

/// Why a partition said no.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The batch breaks a rule of the format or of the topic.
    #[error("{}", .0.message)]
    Refused(#[from] Refusal),
    /// The log would not have it: out of sequence, an old producer, or the disk.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log cannot give it: an offset out of range, or the disk.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk, or what is on it.
    #[error(transparent)]
    Storage(#[from] Error),
    /// The partition is not served, or not any more.
    #[error("{}", .0.reason())]
    Closed(Closed),
}

impl Fault {
    /// The failure of the disk behind it, if it is one.
    pub(super) fn storage(&self) -> Option<&Error> {
        match self {
            Fault::Append(AppendError::Storage(error))
            | Fault::Read(ReadError::Storage(error))
            | Fault::Storage(error) => Some(error),
            _ => None,
        }
    }

    /// What Kafka calls it; the one place where failures of the log become answers.
    pub fn code(&self) -> ErrorCode {
        match self {
            Fault::Refused(refusal) => match refusal.why {
                Invalid::InvalidRecord => ErrorCode::INVALID_RECORD,
                Invalid::Corrupt => ErrorCode::CORRUPT_MESSAGE,
                Invalid::TooLarge => ErrorCode::MESSAGE_TOO_LARGE,
                Invalid::RecordListTooLarge => ErrorCode::RECORD_LIST_TOO_LARGE,
                Invalid::InvalidTimestamp => ErrorCode::INVALID_TIMESTAMP,
                Invalid::UnsupportedCompression => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            },
            Fault::Append(AppendError::Producer(error)) => match error {
                ProducerError::InvalidEpoch { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
                ProducerError::OutOfOrder { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
                ProducerError::InvalidTxnState { .. } | ProducerError::NotVerified { .. } => {
                    ErrorCode::INVALID_TXN_STATE
                }
                ProducerError::CoordinatorFenced { .. } => ErrorCode::TRANSACTION_COORDINATOR_FENCED,
            },
            Fault::Append(AppendError::OffsetsExhausted) => ErrorCode::UNKNOWN_SERVER_ERROR,
            Fault::Read(ReadError::OutOfRange { .. }) => ErrorCode::OFFSET_OUT_OF_RANGE,
            Fault::Append(AppendError::Storage(error))
            | Fault::Read(ReadError::Storage(error))
            | Fault::Storage(error) => match error {
                Error::Corrupt { .. } => ErrorCode::CORRUPT_MESSAGE,
                _ => ErrorCode::KAFKA_STORAGE_ERROR,
            },
            Fault::Closed(why) => why.code(),
        }
    }
}
