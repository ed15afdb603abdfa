//! FindCoordinator (key 10): where the coordinator of a group or of a transactional id is reached.
//!
//! There is one broker, so it is here; the first question creates `__consumer_offsets` or
//! `__transaction_state` and is answered when it is there, where Kafka says COORDINATOR_NOT_AVAILABLE first
//! and lets the client ask again. v1 key types; v4 many keys.
//! Not done: key type 2 (share groups); it is answered with INVALID_REQUEST.

use braid_protocol::ErrorCode;
use braid_protocol::api::find_coordinator::{
    Coordinator, FindCoordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};

use super::{Context, Handled, Handler, distinct};

/// The key is a group's id.
const GROUP: i8 = 0;
/// The key is a transactional id.
const TRANSACTION: i8 = 1;
/// The first version with many keys.
const MANY_FROM: i16 = 4;

impl Handler for FindCoordinator {
    async fn handle(cx: Context, request: FindCoordinatorRequest) -> Handled<FindCoordinatorResponse> {
        let many = cx.version >= MANY_FROM;
        let keys = if many { distinct(request.coordinator_keys, |key| (key, 0)) } else { vec![request.key] };
        let available = match request.key_type {
            GROUP => cx.broker.groups().await.map(drop),
            TRANSACTION => cx.broker.transactions().await.map(drop),
            _ => Err(ErrorCode::INVALID_REQUEST),
        };
        let mut coordinators: Vec<_> = keys.into_iter().map(|key| locate(&cx, key, available)).collect();
        if many {
            return Ok(FindCoordinatorResponse { coordinators, ..Default::default() });
        }
        let Coordinator { node_id, host, port, error_code, error_message, .. } =
            coordinators.pop().unwrap_or_default();
        Ok(FindCoordinatorResponse { node_id, host, port, error_code, error_message, ..Default::default() })
    }
}

fn locate(cx: &Context, key: String, available: Result<(), ErrorCode>) -> Coordinator {
    match available {
        Ok(()) => {
            let (host, port) = cx.broker.endpoint(&cx.peer);
            Coordinator { key, node_id: cx.broker.config.node_id, host, port, ..Default::default() }
        }
        Err(error_code) => {
            let error_message = Some(error_code.message().to_owned());
            Coordinator { key, node_id: -1, port: -1, error_code, error_message, ..Default::default() }
        }
    }
}
