//! DescribeTransactions (key 65): what the coordinator knows of some transactional ids (KIP-664).

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_transactions::{
    DescribeTransactions, DescribeTransactionsRequest, DescribeTransactionsResponse, TransactionState,
};

use super::{Context, Handled, Handler, distinct};

impl Handler for DescribeTransactions {
    async fn handle(
        cx: Context,
        request: DescribeTransactionsRequest,
    ) -> Handled<DescribeTransactionsResponse> {
        let mut transaction_states = Vec::new();
        for id in distinct(request.transactional_ids, |id| (id, 0)) {
            let described = match cx.broker.transactions_if_any().await {
                None => Err(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND),
                Some(Err(code)) => Err(code),
                Some(Ok(coordinator)) => coordinator.describe(id.clone()).await,
            };
            let refused =
                |error_code| TransactionState { error_code, transactional_id: id, ..Default::default() };
            transaction_states.push(described.unwrap_or_else(refused));
        }
        Ok(DescribeTransactionsResponse { transaction_states, ..Default::default() })
    }
}
