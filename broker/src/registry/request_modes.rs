//! MessageRequestModes: whether a group pulls or pops a topic, and the file `messageRequestMode.json`.
//!
//! Set by an operator; asked by consumers that let the broker share out the queues. Reference: `MessageRequestModeManager`.

use std::sync::{Mutex, MutexGuard};

use common::clock::Clock;
use remoting::body::{MessageRequestModeSerializeWrapper, SetMessageRequestModeRequestBody};

use super::persist::{ConfigDirectory, PersistError, Table, TableFile};

const FILE_NAME: &str = "messageRequestMode.json";

/// The modes of all groups.
#[derive(Debug)]
pub struct MessageRequestModes {
    table: Mutex<MessageRequestModeSerializeWrapper>,
    file: TableFile,
}

impl MessageRequestModes {
    /// Reads `messageRequestMode.json` in `config_dir`.
    pub fn open(config_dir: &ConfigDirectory, clock: &dyn Clock) -> anyhow::Result<Self> {
        let file = config_dir.file(FILE_NAME);
        let table = file.load(clock.wall_ms())?.unwrap_or_default();
        Ok(MessageRequestModes {
            table: Mutex::new(table),
            file,
        })
    }

    /// What was set for a group and a topic.
    pub fn get(&self, topic: &str, group: &str) -> Option<SetMessageRequestModeRequestBody> {
        self.lock()
            .message_request_mode_map
            .get(topic)?
            .get(group)
            .cloned()
    }

    /// Sets it. Both exist, so they bound the table.
    pub fn set(&self, mode: SetMessageRequestModeRequestBody) {
        self.lock()
            .message_request_mode_map
            .entry(mode.topic.clone())
            .or_default()
            .insert(mode.consumer_group.clone(), mode);
        self.file.mark_changed();
    }

    /// Everything: the file's content and the answer to GET_ALL_MESSAGE_REQUEST_MODE.
    pub fn snapshot(&self) -> MessageRequestModeSerializeWrapper {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, MessageRequestModeSerializeWrapper> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Table for MessageRequestModes {
    fn file(&self) -> &TableFile {
        &self.file
    }

    fn flush(&self) -> Result<(), PersistError> {
        self.file.flush_with(|| Ok(self.snapshot()))
    }
}

#[cfg(test)]
mod tests {
    use remoting::body::MessageRequestMode;

    use super::*;
    use crate::registry::testing::Home;

    #[test]
    fn modes_survive_a_restart() {
        let home = Home::empty();
        let modes = home.request_modes();
        let pop = SetMessageRequestModeRequestBody {
            topic: "t".to_owned(),
            consumer_group: "g".to_owned(),
            mode: MessageRequestMode::Pop,
            pop_share_queue_num: 3,
        };
        modes.set(pop.clone());
        modes.flush().unwrap();
        let modes = home.request_modes();
        assert_eq!(modes.get("t", "g"), Some(pop));
        assert_eq!(modes.get("t", "h"), None);
    }

    #[test]
    fn a_java_file_is_read() {
        let modes = Home::of_java().request_modes();
        let mode = |topic, group| {
            modes
                .get(topic, group)
                .map(|mode| (mode.mode, mode.pop_share_queue_num))
        };
        assert_eq!(mode("FxNormal", "FxPopCG"), Some((MessageRequestMode::Pop, 3)));
        assert_eq!(mode("FxTags", "FxPopCG"), Some((MessageRequestMode::Pop, 8)));
        assert_eq!(mode("FxTags", "FxCG"), Some((MessageRequestMode::Pull, 0)));
        assert_eq!(mode("FxNormal", "FxCG"), None);
    }
}
