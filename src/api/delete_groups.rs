//! DeleteGroups (key 42): delete groups with all that they committed. One with members stays:
//! NON_EMPTY_GROUP.

use braid_protocol::ErrorCode;
use braid_protocol::api::delete_groups::{
    DeletableGroupResult, DeleteGroups, DeleteGroupsRequest, DeleteGroupsResponse,
};

use super::{Context, Handled, Handler};

impl Handler for DeleteGroups {
    async fn handle(cx: Context, request: DeleteGroupsRequest) -> Handled<DeleteGroupsResponse> {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group_id in request.groups_names {
            let deleted = match cx.broker.groups_if_any().await {
                Some(Ok(groups)) => groups.delete(group_id.clone()).await,
                Some(Err(code)) => Err(code),
                None => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            };
            let error_code = deleted.unwrap_or_else(|code| code);
            results.push(DeletableGroupResult { group_id, error_code });
        }
        Ok(DeleteGroupsResponse { results, ..Default::default() })
    }
}
