//! AddOffsetsToTxn (key 25): say that a transaction is going to commit offsets of a group, which adds the
//! group's partition of `__consumer_offsets` to it.

use braid_protocol::ErrorCode;
use braid_protocol::api::add_offsets_to_txn::{
    AddOffsetsToTxn, AddOffsetsToTxnRequest, AddOffsetsToTxnResponse,
};

use super::{Context, Handled, Handler, fenced};
use crate::broker::OFFSETS_TOPIC;
use crate::txn::Version;

impl Handler for AddOffsetsToTxn {
    async fn handle(cx: Context, request: AddOffsetsToTxnRequest) -> Handled<AddOffsetsToTxnResponse> {
        let added = add(&cx, request).await;
        let error_code = added.map_or_else(|code| fenced(&cx, code, 2), |()| ErrorCode::NONE);
        Ok(AddOffsetsToTxnResponse { error_code, ..Default::default() })
    }
}

async fn add(cx: &Context, request: AddOffsetsToTxnRequest) -> Result<(), ErrorCode> {
    let AddOffsetsToTxnRequest { transactional_id, producer_id, producer_epoch, group_id } = request;
    if transactional_id.is_empty() {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    if group_id.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    let index = cx.broker.groups().await?.partition_of(&group_id);
    let place = (OFFSETS_TOPIC.to_owned(), index);
    let coordinator = cx.broker.transactions().await?;
    let producer = (producer_id, producer_epoch);
    coordinator.add(&transactional_id, producer, [place].into(), Version::Classic).await
}
