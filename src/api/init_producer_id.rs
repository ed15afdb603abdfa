//! InitProducerId (key 22): hand out a producer id, so that the log can tell a repeated batch from a new one.
//!
//! A producer without a transactional id gets an id that nobody ever had, with epoch 0; ids come from blocks
//! of 1000 that are written to the metadata log before the first of them is handed out. v3 lets a producer
//! name its last id and epoch; a new id serves it as well.
//! Not done: transactional ids; they are answered with TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which clients
//! treat as final, because any retriable code would keep them asking for ever.

use braid_protocol::ErrorCode;
use braid_protocol::api::init_producer_id::{InitProducerId, InitProducerIdRequest, InitProducerIdResponse};

use super::{Context, Handled, Handler};

impl Handler for InitProducerId {
    async fn handle(cx: Context, request: InitProducerIdRequest) -> Handled<InitProducerIdResponse> {
        let refuse =
            |error_code| InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() };
        if request.transactional_id.is_some() {
            return Ok(refuse(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
        }
        Ok(match cx.broker.new_producer_id().await {
            Ok(producer_id) => InitProducerIdResponse { producer_id, ..Default::default() },
            Err(code) => refuse(code),
        })
    }
}
