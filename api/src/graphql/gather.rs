//! Runs what an operation looks up in the operation's own turn, when all the rows at hand have said what they need.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use async_graphql::futures_util::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::task::AtomicWaker;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tracing::Instrument;

tokio::task_local! {
    /// Whoever runs the operation. What is sent is one look-up for each sort of key at a time.
    static LOOK_UPS: UnboundedSender<BoxFuture<'static, ()>>;
}

/// Runs a look-up, not before the operation under way waits: another thread would begin it by the clock, in the middle of
/// a page, and look up again for the rest of it.
pub(super) fn soon(look_up: BoxFuture<'static, ()>) {
    let look_up: BoxFuture<'static, ()> = Box::pin(look_up.in_current_span());
    match LOOK_UPS.try_with(UnboundedSender::clone) {
        // Refused only when the operation is over, and nobody asks any more.
        Ok(look_ups) => drop(look_ups.send(look_up)),
        // A stream has no such turn.
        Err(_) => drop(tokio::spawn(look_up)),
    }
}

/// Executes an operation with what it looks up.
pub(super) async fn gathered<T>(operation: impl Future<Output = T>) -> T {
    let (look_ups, mut asked) = unbounded_channel();
    let mut operation = pin!(LOOK_UPS.scope(look_ups, operation));
    let mut under_way = FuturesUnordered::new();
    let turn = Arc::new(Turn { woken: AtomicBool::new(true), request: AtomicWaker::new() });
    let waker = Waker::from(Arc::clone(&turn));
    poll_fn(|cx| {
        turn.request.register(cx.waker());
        if turn.woken.swap(false, Ordering::AcqRel) {
            if let Poll::Ready(answer) = operation.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(answer);
            }
            if turn.woken.load(Ordering::Acquire) {
                // It only made way for others: some of its rows have not said anything yet. It is woken again at once.
                return Poll::Pending;
            }
        }
        while let Poll::Ready(Some(look_up)) = asked.poll_recv(cx) {
            under_way.push(look_up);
        }
        while let Poll::Ready(Some(())) = under_way.poll_next_unpin(cx) {}
        Poll::Pending
    })
    .await
}

/// Whether the operation itself has something to do, beside what it looks up.
struct Turn {
    woken: AtomicBool,
    request: AtomicWaker,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.request.wake();
    }
}
