//! ListConfigResources (key 74): what has configs: the topics, this broker and its loggers, and the
//! groups that something is set on.
//!
//! v0 asks for client metrics only, of which there are none; v1 for any types, or with an empty list for all.
//! Not done: client metrics.

use braid_protocol::ErrorCode;
use braid_protocol::api::list_config_resources::{
    ConfigResource, ListConfigResources, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use super::describe_configs::{BROKER, GROUP, LOGGER, TOPIC};
use super::{Context, Handled, Handler};

/// The first version that knows types.
const TYPES_FROM: i16 = 1;
/// The types that Kafka knows: topic, broker, logger, client metrics, group.
const KNOWN: [i8; 5] = [TOPIC, BROKER, LOGGER, 16, GROUP];

impl Handler for ListConfigResources {
    async fn handle(
        cx: Context,
        request: ListConfigResourcesRequest,
    ) -> Handled<ListConfigResourcesResponse> {
        let types = request.resource_types;
        if types.iter().any(|one| !KNOWN.contains(one)) {
            let error_code = ErrorCode::UNSUPPORTED_VERSION;
            return Ok(ListConfigResourcesResponse { error_code, ..Default::default() });
        }
        let wanted = |one: i8| cx.version >= TYPES_FROM && (types.is_empty() || types.contains(&one));
        let mut config_resources = Vec::new();
        if wanted(TOPIC) {
            let topic = |name: &str| ConfigResource { resource_name: name.to_owned(), resource_type: TOPIC };
            config_resources.extend(cx.image.topics().map(|it| topic(&it.name)));
        }
        if wanted(GROUP) {
            let group = |name: &String| ConfigResource { resource_name: name.clone(), resource_type: GROUP };
            config_resources.extend(cx.image.configured_groups().map(group));
        }
        for resource_type in [BROKER, LOGGER].into_iter().filter(|one| wanted(*one)) {
            let resource_name = cx.broker.config.node_id.to_string();
            config_resources.push(ConfigResource { resource_name, resource_type });
        }
        Ok(ListConfigResourcesResponse { config_resources, ..Default::default() })
    }
}
