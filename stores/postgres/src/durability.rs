//! How much an accepted task survives: asked of the server, not assumed.

use conveyor_core::store::{Durability, StoreResult};

use crate::worker::Worker;

impl Worker {
    pub(crate) async fn durability(&self) -> StoreResult<Durability> {
        let (fsync, commit, full_pages, standbys) =
            self.connections
                .call(async |connection| {
                    self.sql.query_as::<(String, String, String, String)>(
                    "select current_setting('fsync'), current_setting('synchronous_commit'), \
                     current_setting('full_page_writes'), \
                     current_setting('synchronous_standby_names')",
                )
                .fetch_one(connection)
                .await
                })
                .await?;
        Ok(rate(&fsync, &commit, &full_pages, &standbys))
    }
}

/// What these settings of a server mean.
fn rate(fsync: &str, commit: &str, full_pages: &str, standbys: &str) -> Durability {
    if commit == "off" {
        // A crash of the server loses what was committed last.
        return Durability::Memory;
    }
    if fsync == "off" || full_pages == "off" {
        return Durability::ProcessCrash;
    }
    match commit {
        "on" | "remote_apply" if !standbys.trim().is_empty() => Durability::Replicated,
        _ => Durability::PowerLoss,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_taken_at_its_settings() {
        assert_eq!(rate("on", "on", "on", ""), Durability::PowerLoss);
        assert_eq!(rate("off", "on", "on", ""), Durability::ProcessCrash);
        assert_eq!(rate("on", "on", "off", ""), Durability::ProcessCrash);
        assert_eq!(rate("on", "off", "on", "b"), Durability::Memory);
        assert_eq!(rate("on", "local", "on", "b"), Durability::PowerLoss);
        // A standby has it in its memory, not on its disk.
        assert_eq!(rate("on", "remote_write", "on", "b"), Durability::PowerLoss);
        assert_eq!(rate("on", "on", "on", "b"), Durability::Replicated);
    }
}
