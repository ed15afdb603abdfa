//! ConsumerGroupDescribe (key 69): state, epochs and members of KIP-848 groups, with what they own and shall
//! own.
//!
//! v1 says which protocol a member speaks. A classic group is GROUP_ID_NOT_FOUND, as in Kafka: tools then ask
//! with DescribeGroups.

use braid_protocol::api::consumer_group_describe::{
    ConsumerGroupDescribe, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
};

use super::{Context, GROUP_OPERATIONS, Handled, Handler, distinct};

impl Handler for ConsumerGroupDescribe {
    async fn handle(
        cx: Context,
        request: ConsumerGroupDescribeRequest,
    ) -> Handled<ConsumerGroupDescribeResponse> {
        let asked = distinct(request.group_ids, |id| (id, 0));
        let mut groups = Vec::with_capacity(asked.len());
        for group_id in asked {
            let described = match cx.broker.groups().await {
                Ok(coordinator) => coordinator.consumer_describe(group_id.clone(), cx.image.clone()).await,
                Err(code) => Err(code),
            };
            let mut group = described.unwrap_or_else(|error_code| DescribedGroup {
                error_code,
                group_id,
                ..Default::default()
            });
            if request.include_authorized_operations && group.error_code.is_ok() {
                group.authorized_operations = GROUP_OPERATIONS;
            }
            groups.push(group);
        }
        Ok(ConsumerGroupDescribeResponse { groups, ..Default::default() })
    }
}
