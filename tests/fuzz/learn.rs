//! What an answer says that later requests can use.

use braid_protocol::Api;
use braid_protocol::api::consumer_group_heartbeat::ConsumerGroupHeartbeat;
use braid_protocol::api::fetch::Fetch;
use braid_protocol::api::init_producer_id::InitProducerId;
use braid_protocol::api::join_group::JoinGroup;
use braid_protocol::frame;
use bytes::Bytes;

use crate::words::{Words, remember};

/// Takes it over.
pub(crate) fn from(key: i16, version: i16, answer: &Bytes, words: &mut Words) {
    match key {
        JoinGroup::KEY => {
            if let Ok((_, joined)) = frame::read_response::<JoinGroup>(answer, version)
                && !joined.member_id.is_empty()
            {
                remember(&mut words.members, joined.member_id);
            }
        }
        ConsumerGroupHeartbeat::KEY => {
            if let Ok((_, beat)) = frame::read_response::<ConsumerGroupHeartbeat>(answer, version)
                && let Some(id) = beat.member_id
            {
                remember(&mut words.members, id);
            }
        }
        InitProducerId::KEY => {
            if let Ok((_, producer)) = frame::read_response::<InitProducerId>(answer, version)
                && producer.producer_id >= 0
            {
                remember(&mut words.producers, (producer.producer_id, producer.producer_epoch));
            }
        }
        Fetch::KEY => {
            if let Ok((_, fetched)) = frame::read_response::<Fetch>(answer, version)
                && fetched.session_id != 0
            {
                remember(&mut words.sessions, fetched.session_id);
            }
        }
        _ => {}
    }
}
