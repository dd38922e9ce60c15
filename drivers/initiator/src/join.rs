//! Waits for several futures at once, in one task and in a fixed order of polling.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

/// Runs all futures to their end; answers in the order given. Each wake polls those that are not ready, in order.
pub(crate) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<(Option<Pin<Box<F>>>, Option<F::Output>)> =
        futures.into_iter().map(|f| (Some(Box::pin(f)), None)).collect();
    // The outputs are never pinned; only the boxed futures are.
    let mut outputs = Vec::with_capacity(running.len());
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, output) in &mut running {
            if let Some(f) = future {
                match f.as_mut().poll(cx) {
                    Poll::Ready(value) => {
                        *output = Some(value);
                        *future = None;
                    }
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    outputs.extend(running.into_iter().filter_map(|(_, output)| output));
    outputs
}
