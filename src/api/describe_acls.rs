//! DescribeAcls (key 29): there is no authorizer, so there are no ACLs: SECURITY_DISABLED, which tools and
//! UIs know how to show.
//!
//! v0 is served although Kafka 4 starts at v1: sarama before 1.41 sends it.

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_acls::{DescribeAcls, DescribeAclsRequest, DescribeAclsResponse};

use super::{Context, Handled, Handler};

/// What every ACL request is told.
pub(super) const NO_AUTHORIZER: &str = "No Authorizer is configured.";

impl Handler for DescribeAcls {
    async fn handle(_: Context, _: DescribeAclsRequest) -> Handled<DescribeAclsResponse> {
        Ok(DescribeAclsResponse {
            error_code: ErrorCode::SECURITY_DISABLED,
            error_message: Some(NO_AUTHORIZER.to_owned()),
            ..Default::default()
        })
    }
}
