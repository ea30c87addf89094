//! The task of each daemon that looks at its box every 15 s, and in turn with the others at the queue.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    health::{Nginx, Reading, box_name},
    queue::{Queue, QueueError},
};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(15);
/// Between the two readings of which the first figures are made.
const FIRST: Duration = Duration::from_secs(1);

/// Looks for as long as the daemon lives; without Redis it waits for the next time. `nginx` asks the box's nginx for its
/// connections, where there is one.
pub async fn run(queue: Queue, nginx: impl AsyncFn() -> Option<Nginx>) {
    let name = box_name();
    let mut before = Reading::take();
    sleep(FIRST).await;
    loop {
        let now = Reading::take();
        let health = now.zip(before).map(|(now, before)| now.since(&before));
        let tell = async || -> Result<(), QueueError> {
            // Nothing goes into a Redis that is set up for something else.
            queue.check_server().await?;
            if queue.tell_health(&name, health.as_ref(), nginx().await.as_ref()).await? {
                queue.sample().await?;
            }
            Ok(())
        };
        if let Err(error) = tell().await {
            log::debug!("no figures of this box and of the queue for now: {error}");
        }
        before = now;
        sleep(EVERY).await;
    }
}
