//! ConsumerGroupHeartbeat (key 68): all that a member of a KIP-848 group says to its coordinator, and hears.
//!
//! v1 the member makes its own id (KIP-1082), and may subscribe by regular expression. The rules are in
//! `group/consumer/heartbeat.rs`.

use braid_protocol::api::consumer_group_heartbeat::{
    ConsumerGroupHeartbeat, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};

use super::{Context, Handled, Handler};
use crate::group::Beat;

impl Handler for ConsumerGroupHeartbeat {
    async fn handle(
        cx: Context,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Handled<ConsumerGroupHeartbeatResponse> {
        let coordinator = cx.broker.groups().await;
        let beat = Beat {
            request,
            version: cx.version,
            client_id: cx.client_id.to_string(),
            client_host: format!("/{}", cx.peer.address.ip().to_canonical()),
            new_member_id: uuid::Uuid::new_v4().to_string(),
            // not the request's own: two members that ask in turn must not bring an older one behind a newer
            topics: cx.broker.cluster.image(),
        };
        let heard = match coordinator {
            Ok(groups) => groups.consumer_heartbeat(beat).await,
            Err(code) => Err(code),
        };
        Ok(heard
            .unwrap_or_else(|error_code| ConsumerGroupHeartbeatResponse { error_code, ..Default::default() }))
    }
}
