//! `weir retention`: what would be deleted now, and why not. `weir retention run`: deletes it. A server may be running.

use std::time::Duration;

use weir::app;
use weir::config::Config;
use weir_domain::Clock;
use weir_store::{RetentionPlan, within};

use super::outcome::{Done, Failure, block_on, say};

/// How long a database may take.
const ANSWER: Duration = Duration::from_mins(10);

/// Prints what a run would delete.
pub fn show(config: &Config) -> Done {
    block_on(async { print(config, &Box::pin(plan(config)).await?) })
}

/// Deletes what is past its retention. With `confirm` the clock is taken for right, however far it is ahead.
pub fn run(config: &Config, confirm: bool) -> Done {
    block_on(async {
        let planned = Box::pin(plan(config)).await?;
        print(config, &planned)?;
        if config.retention_days == 0 && !confirm {
            return Ok(());
        }
        if planned.is_refused && !confirm {
            let message = "nothing was deleted; if the clock is right, run it with --confirm".to_owned();
            return Err(Failure { message, code: 1 });
        }
        let sink = app::open_analytics(&config.databases.analytics)?;
        let now = Clock::system().now();
        let run = async {
            sink.find_server().await?;
            if confirm {
                sink.confirm_clock(now).await?;
            }
            sink.maintain(now, config.retention_days).await
        };
        let done = Box::pin(within(ANSWER, run)).await?;
        say(&format!("deleted: {} partitions, {} rows", done.partitions_dropped, done.rows_deleted))
    })
}

async fn plan(config: &Config) -> Result<RetentionPlan, Failure> {
    let sink = app::open_analytics(&config.databases.analytics)?;
    let look = async {
        sink.find_server().await?;
        sink.retention_plan(Clock::system().now(), config.retention_days).await
    };
    Ok(Box::pin(within(ANSWER, look)).await?)
}

fn print(config: &Config, plan: &RetentionPlan) -> Done {
    if config.retention_days == 0 {
        return say("retention_days is 0: all rows are kept");
    }
    say(&format!("the clock: {}, last believed: {}", plan.now.to_rfc3339(), plan.trusted_at.to_rfc3339()))?;
    say(&format!("rows are kept from: {}", plan.kept_from.to_rfc3339()))?;
    if plan.kept_days > 0 {
        say(&format!("days before that whose rows were stored later, and stay: {}", plan.kept_days))?;
    }
    if plan.dropped.is_empty() {
        return say("nothing is to be deleted");
    }
    for what in &plan.dropped {
        say(&format!("to be deleted: {what}"))?;
    }
    if plan.is_refused {
        say("the clock is far ahead of the last run: this waits for weir retention run --confirm")?;
    }
    Ok(())
}
