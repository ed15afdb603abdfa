//! DescribeClientQuotas (key 48): there are no quotas, so none match; `kafka-configs --describe` asks.
//!
//! Not done: quotas; AlterClientQuotas is not advertised.

use braid_protocol::api::describe_client_quotas::{
    DescribeClientQuotas, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};

use super::{Context, Handled, Handler};

impl Handler for DescribeClientQuotas {
    async fn handle(_: Context, _: DescribeClientQuotasRequest) -> Handled<DescribeClientQuotasResponse> {
        Ok(DescribeClientQuotasResponse { entries: Some(Vec::new()), ..Default::default() })
    }
}
