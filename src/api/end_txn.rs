//! EndTxn (key 26): commit or abort a transaction.
//!
//! Answered when the decision is durable; the markers follow, and the beginning of the next transaction waits
//! for them. v5: every end bumps the epoch, and the answer says which producer id and epoch come next
//! (KIP-890).

use braid_protocol::ErrorCode;
use braid_protocol::api::end_txn::{EndTxn, EndTxnRequest, EndTxnResponse};

use super::{Context, Handled, Handler, fenced};
use crate::txn::{Producer, Version};

/// The first version whose clients bump their epoch.
const BUMPS_FROM: i16 = 5;

impl Handler for EndTxn {
    async fn handle(cx: Context, request: EndTxnRequest) -> Handled<EndTxnResponse> {
        let (error_code, (producer_id, producer_epoch)) = match end(&cx, request).await {
            Ok(producer) => (ErrorCode::NONE, producer),
            Err(code) => (fenced(&cx, code, 2), (-1, -1)),
        };
        Ok(EndTxnResponse { error_code, producer_id, producer_epoch, ..Default::default() })
    }
}

async fn end(cx: &Context, request: EndTxnRequest) -> Result<Producer, ErrorCode> {
    let EndTxnRequest { transactional_id: id, producer_id, producer_epoch, committed } = request;
    if id.is_empty() {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    let version = if cx.version >= BUMPS_FROM { Version::EpochBump } else { Version::Classic };
    let coordinator = cx.broker.transactions().await?;
    let fresh = cx.broker.new_producer_id();
    coordinator.end(&id, (producer_id, producer_epoch), committed, version, fresh).await
}
