//! ListPartitionReassignments (key 46): with one broker, nothing is ever being moved.

use braid_protocol::api::list_partition_reassignments::{
    ListPartitionReassignments, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::{Context, Handled, Handler};

impl Handler for ListPartitionReassignments {
    async fn handle(
        _: Context,
        _: ListPartitionReassignmentsRequest,
    ) -> Handled<ListPartitionReassignmentsResponse> {
        Ok(ListPartitionReassignmentsResponse::default())
    }
}
