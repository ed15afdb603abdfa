//! DescribeGroups (key 15): state, protocol and members of groups.
//!
//! A group that is not there is "Dead" up to v5, and GROUP_ID_NOT_FOUND from v6 on.

use braid_protocol::api::describe_groups::{
    DescribeGroups, DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
};

use super::{Context, GROUP_OPERATIONS, Handled, Handler, distinct};

impl Handler for DescribeGroups {
    async fn handle(cx: Context, request: DescribeGroupsRequest) -> Handled<DescribeGroupsResponse> {
        let asked = distinct(request.groups, |id| (id, 0));
        let mut groups = Vec::with_capacity(asked.len());
        for group_id in asked {
            let described = match cx.broker.groups().await {
                Ok(coordinator) => coordinator.describe(group_id.clone(), cx.version).await,
                Err(code) => Err(code),
            };
            let mut group = described.unwrap_or_else(|error_code| DescribedGroup {
                error_code,
                group_id,
                ..Default::default()
            });
            if request.include_authorized_operations && group.error_code.is_ok() {
                group.authorized_operations = GROUP_OPERATIONS;
            }
            groups.push(group);
        }
        Ok(DescribeGroupsResponse { groups, ..Default::default() })
    }
}
