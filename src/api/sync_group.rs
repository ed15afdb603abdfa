//! SyncGroup (key 14): the leader brings everybody's assignment, each member gets its own.
//!
//! v3 static members; v5 protocol type and name, both ways. The rules are in `group/sync.rs`.

use braid_protocol::ErrorCode;
use braid_protocol::api::sync_group::{SyncGroup, SyncGroupRequest, SyncGroupResponse};

use super::{Context, Handled, Handler};

/// From this version on a member must say which protocol it believes in (KIP-559).
const NAMED_FROM: i16 = 5;

impl Handler for SyncGroup {
    async fn handle(cx: Context, request: SyncGroupRequest) -> Handled<SyncGroupResponse> {
        let named = request.protocol_type.is_some() && request.protocol_name.is_some();
        let synced = match cx.broker.groups().await {
            Ok(_) if cx.version >= NAMED_FROM && !named => Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
            Ok(groups) => groups.sync(request).await,
            Err(code) => Err(code),
        };
        Ok(synced.unwrap_or_else(|error_code| SyncGroupResponse { error_code, ..Default::default() }))
    }
}
