//! `snowpack drain`: whether new jobs are refused.

use anyhow::Result;
use maintenance::settings;
use serde_json::json;

use crate::args::{Drain, Switch};
use crate::jobs::moment;
use crate::out::Out;
use crate::session;
use crate::submit::submitter;

pub(crate) async fn run(args: Drain, out: &Out) -> Result<()> {
    if args.reason.is_some() && args.switch != Switch::On {
        let why = "--reason goes with `snowpack drain on`";
        return Err(runtime::Error::Usage(why.to_owned()).into());
    }
    let pool = session::migrated(&args.database).await?;
    let client = pool.get().await?;
    match args.switch {
        Switch::On => settings::drain(&**client, &submitter(), args.reason.as_deref()).await?,
        Switch::Off => settings::undrain(&**client).await?,
        Switch::Status => {}
    }
    // As it is by now: one that was drained already keeps its author.
    let drain = settings::drained(&**client).await?;
    let document = json!({
        "drained": drain.is_some(),
        "at": drain.as_ref().map(|drain| drain.at.to_string()),
        "by": drain.as_ref().map(|drain| &drain.by),
        "reason": drain.as_ref().and_then(|drain| drain.reason.as_ref()),
    });
    out.result(&document, || match &drain {
        None => "new jobs are taken\n".to_owned(),
        Some(drain) => {
            let why = drain.reason.as_ref();
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            format!(
                "new jobs are refused since {} by {}{why}; what is queued and what runs goes on\n",
                moment(drain.at),
                drain.by
            )
        }
    })
}
