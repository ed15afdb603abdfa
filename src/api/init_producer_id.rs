//! InitProducerId (key 22): hand out a producer id, so that the log can tell a repeated batch from a new one,
//! and the owner of a transactional id from one that was before.
//!
//! A producer without a transactional id gets an id that nobody ever had, with epoch 0; ids come from blocks
//! of 1000 that are written to the metadata log before the first of them is handed out. With a transactional
//! id the epoch is bumped, which fences the producer that had it, and an open transaction is aborted first;
//! Kafka answers CONCURRENT_TRANSACTIONS meanwhile, here the answer waits. v3 lets a producer name its last
//! id and epoch (KIP-360); v4 PRODUCER_FENCED.
//! Not done: v6, two-phase commit (KIP-939), which Kafka 4.3 does not offer either.

use braid_protocol::ErrorCode;
use braid_protocol::api::init_producer_id::{InitProducerId, InitProducerIdRequest, InitProducerIdResponse};

use super::{Context, Handled, Handler, fenced};
use crate::txn::Producer;

impl Handler for InitProducerId {
    async fn handle(cx: Context, request: InitProducerIdRequest) -> Handled<InitProducerIdResponse> {
        let (error_code, (producer_id, producer_epoch)) = match init(&cx, request).await {
            Ok(producer) => (ErrorCode::NONE, producer),
            Err(code) => (fenced(&cx, code, 4), (-1, -1)),
        };
        Ok(InitProducerIdResponse { error_code, producer_id, producer_epoch, ..Default::default() })
    }
}

async fn init(cx: &Context, request: InitProducerIdRequest) -> Result<Producer, ErrorCode> {
    let fresh = cx.broker.new_producer_id();
    let Some(id) = request.transactional_id else { return Ok((fresh.await?, 0)) };
    let expected = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        (id @ 0.., epoch @ 0..) => Some((id, epoch)),
        _ => return Err(ErrorCode::INVALID_REQUEST),
    };
    let coordinator = cx.broker.transactions().await?;
    coordinator.init(&id, request.transaction_timeout_ms, expected, fresh).await
}
