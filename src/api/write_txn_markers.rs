//! WriteTxnMarkers (key 27): end transactions in the partitions they have written to.
//!
//! A broker of one writes its own markers without it; `kafka-transactions.sh abort` ends a transaction that
//! hangs with it.

use braid_protocol::ErrorCode;
use braid_protocol::api::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult, WriteTxnMarkers, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

use super::{Context, Handled, Handler};
use crate::topic::Marker;

impl Handler for WriteTxnMarkers {
    async fn handle(cx: Context, request: WriteTxnMarkersRequest) -> Handled<WriteTxnMarkersResponse> {
        let mut markers = Vec::new();
        for marker in request.markers {
            markers.push(write(&cx, marker).await);
        }
        Ok(WriteTxnMarkersResponse { markers })
    }
}

async fn write(cx: &Context, asked: WritableTxnMarker) -> WritableTxnMarkerResult {
    let marker = Marker {
        producer_id: asked.producer_id,
        producer_epoch: asked.producer_epoch,
        coordinator_epoch: asked.coordinator_epoch,
        commit: asked.transaction_result,
    };
    let mut topics = Vec::new();
    for topic in asked.topics {
        let mut partitions = Vec::new();
        for partition_index in topic.partition_indexes {
            let written = cx.broker.write_marker(&topic.name, partition_index, marker).await;
            let error_code = written.err().unwrap_or(ErrorCode::NONE);
            partitions.push(WritableTxnMarkerPartitionResult { partition_index, error_code });
        }
        topics.push(WritableTxnMarkerTopicResult { name: topic.name, partitions });
    }
    WritableTxnMarkerResult { producer_id: asked.producer_id, topics }
}
