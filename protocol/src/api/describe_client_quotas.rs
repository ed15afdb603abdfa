//! DescribeClientQuotas (key 48): the quotas of users, clients and addresses (KIP-546).

use crate::error::ErrorCode;
use crate::message::{api, message};

api! {
    /// v1 is flexible and otherwise the same.
    DescribeClientQuotas = 48, 0..=1, flexible 1..,
    DescribeClientQuotasRequest => DescribeClientQuotasResponse
}

message! {
    /// Which entities to tell.
    DescribeClientQuotasRequest {
        components: Vec<ComponentData>,
        /// Whether entities of more types than are asked for are left out.
        strict: bool,
    }
    /// A filter for one type.
    ComponentData {
        /// `user`, `client-id` or `ip`.
        entity_type: String,
        /// 0 this name, 1 the default, 2 any name.
        match_type: i8,
        r#match: Option<String>,
    }
}

message! {
    /// The entities that match; null only with an error.
    DescribeClientQuotasResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<String>,
        entries: Option<Vec<EntryData>>,
    }
    /// One entity and its quotas.
    EntryData {
        entity: Vec<EntityData>,
        values: Vec<ValueData>,
    }
    /// A part of an entity's name.
    EntityData {
        entity_type: String,
        /// Null for the default.
        entity_name: Option<String>,
    }
    /// One quota.
    ValueData {
        key: String,
        /// The bits of a 64-bit floating point number.
        value: i64,
    }
}
