//! Heartbeat (key 12): a member is alive, and learns whether its group is rebalancing. v3 static members.

use braid_protocol::api::heartbeat::{Heartbeat, HeartbeatRequest, HeartbeatResponse};

use super::{Context, Handled, Handler};

impl Handler for Heartbeat {
    async fn handle(cx: Context, request: HeartbeatRequest) -> Handled<HeartbeatResponse> {
        let heard = match cx.broker.groups().await {
            Ok(groups) => groups.heartbeat(request).await,
            Err(code) => Err(code),
        };
        Ok(heard.unwrap_or_else(|error_code| HeartbeatResponse { error_code, ..Default::default() }))
    }
}
