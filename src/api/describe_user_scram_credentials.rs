//! DescribeUserScramCredentials (key 50): nobody has a password; `kafka-configs --describe` asks.
//!
//! Not done: passwords; AlterUserScramCredentials is not advertised.

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_user_scram_credentials::{
    DescribeUserScramCredentials, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult, UserName,
};

use super::{Context, Handled, Handler};

impl Handler for DescribeUserScramCredentials {
    async fn handle(
        _: Context,
        request: DescribeUserScramCredentialsRequest,
    ) -> Handled<DescribeUserScramCredentialsResponse> {
        let nobody = |UserName { name }| DescribeUserScramCredentialsResult {
            error_message: Some(format!("Attempt to describe a user credential that does not exist: {name}")),
            error_code: ErrorCode::RESOURCE_NOT_FOUND,
            user: name,
            ..Default::default()
        };
        let results = request.users.into_iter().flatten().map(nobody).collect();
        Ok(DescribeUserScramCredentialsResponse { results, ..Default::default() })
    }
}
