//! `snowpack pause` and `resume`: whether a lane hands out jobs.

use anyhow::Result;
use queue::Queue;
use serde_json::json;

use crate::args::{Lane, Pause, Resume};
use crate::out::Out;
use crate::session;
use crate::submit::submitter;

pub(crate) async fn pause(args: Pause, out: &Out) -> Result<()> {
    let queue = queue(args.lane);
    let pool = session::migrated(&args.database).await?;
    let by = submitter();
    queue
        .pause(
            &**pool.get().await?,
            &by,
            args.reason.as_deref().unwrap_or_default(),
        )
        .await?;
    let document = json!({ "lane": queue.lane(), "paused": true, "by": by, "reason": args.reason });
    out.result(&document, || {
        format!(
            "lane {} is paused: nothing is handed out, what runs finishes\n",
            queue.lane()
        )
    })
}

pub(crate) async fn resume(args: Resume, out: &Out) -> Result<()> {
    let queue = queue(args.lane);
    let pool = session::migrated(&args.database).await?;
    let client = pool.get().await?;
    queue.resume(&**client).await?;
    // Workers that wait would else find out at their next poll.
    if let Err(error) = queue.notify(&**client).await {
        tracing::debug!(%error, "workers will see it at their next poll");
    }
    out.result(&json!({ "lane": queue.lane(), "paused": false }), || {
        format!("lane {} hands out jobs\n", queue.lane())
    })
}

fn queue(lane: Lane) -> Queue {
    match lane {
        Lane::Snowpack => maintenance::queue(),
    }
}
