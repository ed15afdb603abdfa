//! SyncGroup (key 14): the leader brings everybody's assignment, each member gets its own.
//!
//! v3 static members; v5 protocol type and name, both ways. The rules are in `group/sync.rs`.

use braid_protocol::api::sync_group::{SyncGroup, SyncGroupRequest, SyncGroupResponse};

use super::{Context, Handled, Handler};

impl Handler for SyncGroup {
    async fn handle(cx: Context, request: SyncGroupRequest) -> Handled<SyncGroupResponse> {
        let synced = match cx.broker.groups().await {
            Ok(groups) => groups.sync(request).await,
            Err(code) => Err(code),
        };
        Ok(synced.unwrap_or_else(|error_code| SyncGroupResponse { error_code, ..Default::default() }))
    }
}
