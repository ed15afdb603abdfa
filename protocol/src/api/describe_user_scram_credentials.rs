//! DescribeUserScramCredentials (key 50): which users can log in with a password, and by what (KIP-554).

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// Flexible from its first version.
    DescribeUserScramCredentials = 50, 0..=0, flexible 0..,
    DescribeUserScramCredentialsRequest => DescribeUserScramCredentialsResponse
}

message! {
    /// Which users; null or none for all.
    DescribeUserScramCredentialsRequest {
        users: Option<Vec<UserName>>,
    }
    /// One user.
    UserName {
        name: String,
    }
}

message! {
    /// The users.
    DescribeUserScramCredentialsResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
        results: Vec<DescribeUserScramCredentialsResult>,
    }
    /// One user.
    DescribeUserScramCredentialsResult {
        user: String,
        error_code: ErrorCode,
        error_message: Option<String>,
        credential_infos: Vec<CredentialInfo>,
    }
    /// One way to log in.
    CredentialInfo {
        /// 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        mechanism: i8,
        iterations: i32,
    }
}
