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
        let mut seen = HashSet::new();
        let (mut found, mut ids) = (Vec::with_capacity(wanted.len()), Vec::new());
        for wanted in wanted {
            if let Some(id) = named_by(&cx, &wanted).filter(|id| twice.contains(id)) {
                // answered once, however often it is named
                if seen.insert(id) {
                    found.push(Found { refused: Some(twice_named(&wanted)), ..Found::from(wanted) });
                }
                continue;
            }
            // Hidden behind an id, a name is told only when the topic was found.
            let one = match find(&cx, wanted.name.as_deref(), wanted.topic_id) {
                Ok((topic_id, name)) => {
                    ids.push(topic_id);
                    Found { by_name: wanted.name.is_some(), name: Some(name), topic_id, refused: None }
                }
                Err(refused) => Found { refused: Some(refused), ..Found::from(wanted) },
            };
            found.push(one);
        }
        let mut deleted = cx.broker.delete_topics(ids, &cx.requester()).await.into_iter();
        let responses: Vec<_> = found
            .into_iter()
            .map(|Found { name, topic_id, by_name, refused }| {
                let refused = refused.or_else(|| deleted.next().and_then(Result::err));
                let (error_code, error_message) = match refused {
                    None => (ErrorCode::NONE, None),
                    // another request was faster; who asked by name may not know the code for an id
                    Some((ErrorCode::UNKNOWN_TOPIC_ID, why)) if by_name => {
                        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Some(why))
                    }
                    Some((code, why)) => (code, Some(why)),
                };
                DeletableTopicResult { name, topic_id, error_code, error_message }
            })
            .collect();
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

/// As in Kafka a topic that is named twice is not deleted: the client may have meant another.
fn twice_named(wanted: &DeleteTopicState) -> Refused {
    let what = if wanted.name.is_some() { "name" } else { "id" };
    (ErrorCode::INVALID_REQUEST, format!("Duplicate topic {what}."))
}

/// A topic that is to be deleted, or why it is not.
struct Found {
    name: Option<String>,
    topic_id: Uuid,
    by_name: bool,
    refused: Option<Refused>,
}

impl From<DeleteTopicState> for Found {
    fn from(DeleteTopicState { name, topic_id }: DeleteTopicState) -> Found {
        Found { by_name: name.is_some(), name, topic_id, refused: None }
    }
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
