//! DeleteAcls (key 31): there is no authorizer, and nothing to delete: SECURITY_DISABLED for each filter.

use braid_protocol::ErrorCode;
use braid_protocol::api::delete_acls::{
    DeleteAcls, DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse,
};

use super::describe_acls::NO_AUTHORIZER;
use super::{Context, Handled, Handler};

impl Handler for DeleteAcls {
    async fn handle(_: Context, request: DeleteAclsRequest) -> Handled<DeleteAclsResponse> {
        let refused = |_| DeleteAclsFilterResult {
            error_code: ErrorCode::SECURITY_DISABLED,
            error_message: Some(NO_AUTHORIZER.to_owned()),
            ..Default::default()
        };
        let filter_results = request.filters.iter().map(refused).collect();
        Ok(DeleteAclsResponse { filter_results, ..Default::default() })
    }
}
