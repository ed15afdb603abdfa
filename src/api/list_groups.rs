//! ListGroups (key 16): the groups that this broker coordinates. v4 filters by state, v5 by type.

use braid_protocol::api::list_groups::{ListGroups, ListGroupsRequest, ListGroupsResponse};

use super::{Context, Handled, Handler};

impl Handler for ListGroups {
    async fn handle(cx: Context, request: ListGroupsRequest) -> Handled<ListGroupsResponse> {
        // While no group was ever used there is no coordinator, and asking must not create its topic.
        let Some(groups) = cx.broker.groups_if_any().await else { return Ok(ListGroupsResponse::default()) };
        let listed = match groups {
            Ok(groups) => groups.list(request).await,
            Err(code) => Err(code),
        };
        Ok(match listed {
            Ok(groups) => ListGroupsResponse { groups, ..Default::default() },
            Err(error_code) => ListGroupsResponse { error_code, ..Default::default() },
        })
    }
}
