//! DeleteTopics (key 20): a topic is unknown from the moment of the answer; its files go right after.
//!
//! v6 names topics by name or by id.

use std::collections::HashSet;

use braid_protocol::api::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopics, DeleteTopicsRequest, DeleteTopicsResponse,
};
use braid_protocol::{ErrorCode, Uuid};

use super::alter_configs::repeated;
use super::{Context, Handled, Handler};
use crate::broker::Refused;

impl Handler for DeleteTopics {
    async fn handle(cx: Context, request: DeleteTopicsRequest) -> Handled<DeleteTopicsResponse> {
        let by_name = request
            .topic_names
            .into_iter()
            .map(|name| DeleteTopicState { name: Some(name), ..Default::default() });
        let wanted: Vec<_> = request.topics.into_iter().chain(by_name).collect();
        let twice = repeated(wanted.iter().filter_map(|wanted| named_by(&cx, wanted)));
        let mut told = HashSet::new();
        let mut responses = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            if let Some(id) = named_by(&cx, &wanted).filter(|id| twice.contains(id)) {
                // told once, of however many
                if told.insert(id) {
                    responses.push(twice_named(wanted));
                }
                continue;
            }
            let DeleteTopicState { name, topic_id } = wanted;
            let by_name = name.is_some();
            // Hidden behind an id, a name is told only when the topic was found.
            let (found, name) = match find(&cx, name.as_deref(), topic_id) {
                Ok((id, found_name)) => (Ok(id), Some(found_name)),
                Err(refused) => (Err(refused), name),
            };
            let deleted = match found {
                Ok(id) => match cx.broker.delete_topic(id).await {
                    // somebody else was faster; who asked by name may not know the code for an id
                    Err((ErrorCode::UNKNOWN_TOPIC_ID, why)) if by_name => {
                        Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why))
                    }
                    deleted => deleted.map(|()| id),
                },
                Err(refused) => Err(refused),
            };
            responses.push(match deleted {
                Ok(topic_id) => DeletableTopicResult { name, topic_id, ..Default::default() },
                Err((error_code, why)) => {
                    DeletableTopicResult { name, topic_id, error_code, error_message: Some(why) }
                }
            });
        }
        Ok(DeleteTopicsResponse { responses, ..Default::default() })
    }
}

/// The topic that is asked for, if there is one: the same by its name and by its id.
fn named_by(cx: &Context, wanted: &DeleteTopicState) -> Option<Uuid> {
    match &wanted.name {
        Some(name) if wanted.topic_id == Uuid::ZERO => cx.image.topic(name).map(|topic| topic.id),
        Some(_) => None,
        None => cx.image.topic_by_id(wanted.topic_id).map(|topic| topic.id),
    }
}

/// As in Kafka a topic that is named twice is not deleted: whoever made the request may have meant another.
fn twice_named(wanted: DeleteTopicState) -> DeletableTopicResult {
    let DeleteTopicState { name, topic_id } = wanted;
    let what = if name.is_some() { "name" } else { "id" };
    let error_message = Some(format!("Duplicate topic {what}."));
    DeletableTopicResult { name, topic_id, error_code: ErrorCode::INVALID_REQUEST, error_message }
}

fn find(cx: &Context, name: Option<&str>, id: Uuid) -> Result<(Uuid, String), Refused> {
    if !cx.broker.config.delete_topic_enable {
        return Err((ErrorCode::TOPIC_DELETION_DISABLED, "Topic deletion is disabled.".to_owned()));
    }
    let unknown = |code| (code, "This server does not host this topic.".to_owned());
    let topic = match (name, id == Uuid::ZERO) {
        (Some(_), false) | (None, true) => {
            let why = "A topic is named either by its name or by its id.";
            return Err((ErrorCode::INVALID_REQUEST, why.to_owned()));
        }
        (Some(name), true) => {
            cx.image.topic(name).ok_or_else(|| unknown(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))?
        }
        (None, false) => cx.image.topic_by_id(id).ok_or_else(|| unknown(ErrorCode::UNKNOWN_TOPIC_ID))?,
    };
    if super::is_internal(&topic.name) {
        let why = "Internal topics are kept for as long as the broker's data.";
        return Err((ErrorCode::INVALID_REQUEST, why.to_owned()));
    }
    Ok((topic.id, topic.name.to_string()))
}
