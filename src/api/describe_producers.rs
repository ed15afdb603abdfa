//! DescribeProducers (key 61): the producers that a partition remembers, and their open transactions
//! (KIP-664).

use braid_protocol::Uuid;
use braid_protocol::api::describe_producers::{
    DescribeProducers, DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicRequest, TopicResponse,
};

use super::{Context, Handled, Handler, named_before};
use crate::topic::NO_EPOCH;

impl Handler for DescribeProducers {
    async fn handle(cx: Context, request: DescribeProducersRequest) -> Handled<DescribeProducersResponse> {
        // Once each: a partition may remember many producers.
        let indexes = |topic: &TopicRequest| topic.partition_indexes.clone();
        let before = named_before(&request.topics, |topic| (&topic.name, Uuid::ZERO), indexes);
        let topics = request.topics.into_iter().enumerate().map(|(at, topic)| {
            let indexes = topic.partition_indexes.iter().enumerate();
            let once = indexes.filter(|(n, _)| !before.contains(&(at, *n)));
            let partitions = once.map(|(_, index)| describe(&cx, &topic.name, *index)).collect();
            TopicResponse { name: topic.name, partitions }
        });
        Ok(DescribeProducersResponse { topics: topics.collect(), ..Default::default() })
    }
}

fn describe(cx: &Context, topic: &str, partition_index: i32) -> PartitionResponse {
    let found = cx.broker.topics.find(topic).and_then(|topic| topic.lead(partition_index, NO_EPOCH));
    let producers = found.and_then(|partition| {
        let all = partition.look(|log| log.producers().all().collect::<Vec<_>>());
        all.map_err(|fault| fault.code())
    });
    let producers = match producers {
        Ok(producers) => producers,
        Err(error_code) => {
            return PartitionResponse {
                partition_index,
                error_code,
                error_message: Some(error_code.message().to_owned()),
                ..Default::default()
            };
        }
    };
    let states = producers.into_iter().map(|producer| ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: i32::from(producer.epoch),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.txn_first_offset.unwrap_or(-1),
    });
    PartitionResponse { partition_index, active_producers: states.collect(), ..Default::default() }
}
