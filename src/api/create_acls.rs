//! CreateAcls (key 30): there is no authorizer that would keep them: SECURITY_DISABLED for each.

use braid_protocol::ErrorCode;
use braid_protocol::api::create_acls::{
    AclCreationResult, CreateAcls, CreateAclsRequest, CreateAclsResponse,
};

use super::describe_acls::NO_AUTHORIZER;
use super::{Context, Handled, Handler};

impl Handler for CreateAcls {
    async fn handle(_: Context, request: CreateAclsRequest) -> Handled<CreateAclsResponse> {
        let refused = |_| AclCreationResult {
            error_code: ErrorCode::SECURITY_DISABLED,
            error_message: Some(NO_AUTHORIZER.to_owned()),
        };
        let results = request.creations.iter().map(refused).collect();
        Ok(CreateAclsResponse { results, ..Default::default() })
    }
}
