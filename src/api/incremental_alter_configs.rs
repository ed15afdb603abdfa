//! IncrementalAlterConfigs (key 44): change some configs of topics and of the broker, and leave the others
//! (KIP-339).
//!
//! Resource types: 2 topic, 4 broker (with an empty name: all brokers), 8 the broker's loggers, 32 group.
//! Each resource stands for itself.
//! Not done: client metrics; they are answered with INVALID_REQUEST.

use braid_protocol::ErrorCode;
use braid_protocol::api::incremental_alter_configs::{
    AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigs, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::alter_configs::{alter, once, repeated, told};
use super::{Context, Handled, Handler};
use crate::broker::Alter;
use crate::config::Alteration;

impl Handler for IncrementalAlterConfigs {
    async fn handle(
        cx: Context,
        request: IncrementalAlterConfigsRequest,
    ) -> Handled<IncrementalAlterConfigsResponse> {
        let twice = repeated(request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())));
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in request.resources {
            let (resource_type, resource_name) = (resource.resource_type, resource.resource_name);
            let id = (resource_type, resource_name.clone());
            let done = match wanted(resource.configs) {
                _ if twice.contains(&id) => Err(once()),
                Ok(some) => alter(&cx, id, Alter::Some(some), request.validate_only).await,
                Err(why) => Err((ErrorCode::INVALID_REQUEST, why)),
            };
            let (error_code, error_message) = told(done);
            responses.push(AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type,
                resource_name,
            });
        }
        Ok(IncrementalAlterConfigsResponse { responses, ..Default::default() })
    }
}

fn wanted(configs: Vec<AlterableConfig>) -> Result<Vec<(String, Alteration)>, String> {
    if let Some(name) = repeated(configs.iter().map(|config| &config.name)).into_iter().next() {
        return Err(format!("The request names {name} twice."));
    }
    let one = |AlterableConfig { name, config_operation, value }| {
        let alteration = match (config_operation, value) {
            (1, _) => Alteration::Delete,
            (0 | 2 | 3, None) => return Err(format!("Null value not supported for: {name}")),
            (0, Some(value)) => Alteration::Set(value),
            (2, Some(value)) => Alteration::Append(value),
            (3, Some(value)) => Alteration::Subtract(value),
            (other, _) => return Err(format!("Unknown operation {other} for {name}; 0 to 3 are known.")),
        };
        Ok((name, alteration))
    };
    configs.into_iter().map(one).collect()
}
