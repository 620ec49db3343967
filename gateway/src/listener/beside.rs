//! What is woken often beside what is woken rarely: a connection's bytes beside its deadlines and the gateway's end.
//!
//! Polled together, every packet would look at every timer and take every lock that the rare ones are woken through,
//! locks that all connections share. Here the rare side is looked at only when it has been called.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Whichever side was ready first.
pub(super) enum First<A, B> {
    Often(A),
    Rare(B),
}

/// Waits for either side, the one that is woken often first. `bell` belongs to the task.
pub(super) async fn first<A, B>(
    mut often: Pin<&mut A>,
    mut rare: Pin<&mut B>,
    bell: &mut Bell,
) -> First<A::Output, B::Output>
where
    A: Future,
    B: Future,
{
    // What was not looked at yet has nobody to call.
    bell.0 = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = often.as_mut().poll(cx) {
            return Poll::Ready(First::Often(output));
        }
        while let Some(waker) = bell.heard(cx) {
            if let Poll::Ready(output) = rare.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(First::Rare(output));
            }
        }
        Poll::Pending
    })
    .await
}

/// Says whether the rare side has been called.
#[derive(Default)]
pub(super) struct Bell(Option<Arc<Ring>>);

struct Ring {
    rung: AtomicBool,
    task: Waker,
}

impl Bell {
    /// How the rare side can call from now on, if it has called, or if nobody has told it yet how to.
    fn heard(&mut self, cx: &Context<'_>) -> Option<Waker> {
        match &self.0 {
            Some(ring) if ring.task.will_wake(cx.waker()) => {
                let rung =
                    ring.rung.load(Ordering::Relaxed) && ring.rung.swap(false, Ordering::Acquire);
                rung.then(|| Waker::from(Arc::clone(ring)))
            }
            _ => {
                let ring = Arc::new(Ring {
                    rung: AtomicBool::new(false),
                    task: cx.waker().clone(),
                });
                self.0 = Some(Arc::clone(&ring));
                Some(Waker::from(ring))
            }
        }
    }
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Before the task can look.
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn the_rare_side_is_polled_only_when_it_has_called() {
        let (bytes, deadline) = (Notify::new(), Notify::new());
        let looks = Cell::new(0);
        let often = async {
            loop {
                bytes.notified().await;
            }
        };
        let rare = async {
            let mut notified = std::pin::pin!(deadline.notified());
            std::future::poll_fn(|cx| {
                looks.set(looks.get() + 1);
                notified.as_mut().poll(cx)
            })
            .await;
        };
        let traffic = async {
            for _ in 0..10 {
                bytes.notify_one();
                tokio::task::yield_now().await;
            }
            assert_eq!(looks.get(), 1);
            deadline.notify_one();
        };
        let mut bell = Bell::default();
        let waiting = async {
            let (often, rare) = (std::pin::pin!(often), std::pin::pin!(rare));
            let first: First<(), ()> = first(often, rare, &mut bell).await;
            assert!(matches!(first, First::Rare(())));
        };
        // A task of its own: `join!` would poll both for every wake-up.
        tokio::join!(waiting, traffic);
        assert_eq!(looks.get(), 2);
    }

    #[tokio::test]
    async fn a_rare_side_that_calls_while_it_is_polled_is_polled_again() {
        let calls = Cell::new(3);
        let rare = std::pin::pin!(std::future::poll_fn(|cx| {
            calls.set(calls.get() - 1);
            if calls.get() == 0 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let often = std::pin::pin!(std::future::pending::<()>());
        let mut bell = Bell::default();
        assert!(matches!(
            first(often, rare, &mut bell).await,
            First::Rare(())
        ));
    }

    #[tokio::test]
    async fn a_future_that_takes_the_place_of_another_is_looked_at() {
        let mut bell = Bell::default();
        for _ in 0..2 {
            let often = std::pin::pin!(std::future::pending::<()>());
            let rare = std::pin::pin!(tokio::time::sleep(std::time::Duration::from_millis(1)));
            assert!(matches!(
                first(often, rare, &mut bell).await,
                First::Rare(())
            ));
        }
    }

    #[tokio::test]
    async fn the_side_woken_often_goes_first() {
        let often = std::pin::pin!(std::future::ready(1));
        let rare = std::pin::pin!(std::future::ready(2));
        let mut bell = Bell::default();
        assert!(matches!(
            first(often, rare, &mut bell).await,
            First::Often(1)
        ));
    }
}
