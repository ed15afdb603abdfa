//! LeaveGroup (key 13): members leave, and the group rebalances without waiting for their sessions to end.
//!
//! Up to v2 one member, whose error is that of the response; from v3 a list, by member or instance id.

use braid_protocol::api::leave_group::{LeaveGroup, LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};

use super::{Context, Handled, Handler};

/// The first version with a list of members.
const LIST_FROM: i16 = 3;

impl Handler for LeaveGroup {
    async fn handle(cx: Context, mut request: LeaveGroupRequest) -> Handled<LeaveGroupResponse> {
        let one = cx.version < LIST_FROM;
        if one {
            let member_id = std::mem::take(&mut request.member_id);
            request.members = vec![MemberIdentity { member_id, ..Default::default() }];
        }
        let left = match cx.broker.groups().await {
            Ok(groups) => groups.leave(request).await,
            Err(code) => Err(code),
        };
        let mut response =
            left.unwrap_or_else(|error_code| LeaveGroupResponse { error_code, ..Default::default() });
        if one
            && response.error_code.is_ok()
            && let Some(member) = response.members.pop()
        {
            response.error_code = member.error_code;
        }
        Ok(response)
    }
}
