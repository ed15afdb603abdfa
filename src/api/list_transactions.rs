//! ListTransactions (key 66): the transactional ids there are, by state, producer id, age and pattern
//! (KIP-664, KIP-994).

use braid_protocol::ErrorCode;
use braid_protocol::api::list_transactions::{
    ListTransactions, ListTransactionsRequest, ListTransactionsResponse, TransactionState,
};

use super::{Context, Handled, Handler};
use crate::txn::Coordinator;

impl Handler for ListTransactions {
    async fn handle(cx: Context, request: ListTransactionsRequest) -> Handled<ListTransactionsResponse> {
        let unknown_state_filters = Coordinator::unknown_states(&request.state_filters);
        let only_unknown =
            !request.state_filters.is_empty() && unknown_state_filters.len() == request.state_filters.len();
        let (error_code, transaction_states) = match list(&cx, request).await {
            Ok(_) if only_unknown => (ErrorCode::NONE, Vec::new()),
            Ok(listed) => (ErrorCode::NONE, listed),
            Err(code) => (code, Vec::new()),
        };
        Ok(ListTransactionsResponse {
            error_code,
            unknown_state_filters,
            transaction_states,
            ..Default::default()
        })
    }
}

async fn list(cx: &Context, request: ListTransactionsRequest) -> Result<Vec<TransactionState>, ErrorCode> {
    match cx.broker.transactions_if_any().await {
        None => Ok(Vec::new()),
        Some(coordinator) => coordinator?.list(request).await,
    }
}
