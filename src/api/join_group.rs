//! JoinGroup (key 11): become, or stay, a member of a group. Answered when the group has gathered.
//!
//! v1 rebalance timeout; v4 a new member first gets an id and comes again (KIP-394); v5 static members; v9 a
//! static leader that comes back need not assign again. The rules are in `group/join.rs`.

use braid_protocol::api::join_group::{JoinGroup, JoinGroupRequest, JoinGroupResponse};

use super::{Context, Handled, Handler};
use crate::group::Join;

impl Handler for JoinGroup {
    async fn handle(cx: Context, request: JoinGroupRequest) -> Handled<JoinGroupResponse> {
        let member_id = request.member_id.clone();
        let prefix = request.group_instance_id.as_deref().unwrap_or(&cx.client_id);
        let join = Join {
            version: cx.version,
            client_id: cx.client_id.to_string(),
            client_host: format!("/{}", cx.peer.address.ip().to_canonical()),
            new_member_id: format!("{prefix}-{}", uuid::Uuid::new_v4()),
            topics: cx.broker.cluster.image(),
            request,
        };
        let joined = match cx.broker.groups().await {
            Ok(groups) => groups.join(join).await,
            Err(code) => Err(code),
        };
        Ok(joined.unwrap_or_else(|error_code| JoinGroupResponse {
            error_code,
            member_id,
            ..Default::default()
        }))
    }
}
