//! Page: the part of a table that a request asks for, so that large tables fit into frames.
//!
//! A client asks for entry after entry of the version it saw first; when the version has changed meanwhile, it gets the
//! first page of the new one and starts over. Reference: `TopicConfigManager.subTopicConfigTable`.

use std::collections::BTreeMap;

use remoting::body::{DataVersion, fastjson};

use crate::config::BrokerConfig;

/// What the header of a paged request says.
pub(super) struct Page<'a> {
    pub(super) first: Option<i32>,
    pub(super) data_version: Option<&'a str>,
    pub(super) most: Option<i32>,
}

impl Page<'_> {
    /// The entries of `table`, which has `version`, that are wanted; all of them for clients that know no pages.
    pub(super) fn of<V>(
        &self,
        table: BTreeMap<String, V>,
        version: DataVersion,
        config: &BrokerConfig,
    ) -> BTreeMap<String, V> {
        let is_paged = self.first.is_some() || self.data_version.is_some() || self.most.is_some();
        if !config.enable_split_metadata || !is_paged {
            return table;
        }
        let seen: Option<DataVersion> = self.data_version.and_then(|text| fastjson::from_str(text).ok());
        let first = if seen == Some(version) {
            self.first.unwrap_or(0)
        } else {
            0
        };
        let most = config
            .split_metadata_size
            .min(self.most.unwrap_or(i32::MAX))
            .max(1);
        let [first, most] = [first, most].map(|number| usize::try_from(number).unwrap_or(0));
        table.into_iter().skip(first).take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: DataVersion = DataVersion {
        counter: 3,
        state_version: 0,
        timestamp: 7,
    };

    fn page(first: Option<i32>, data_version: Option<&str>, most: Option<i32>) -> String {
        let config = BrokerConfig {
            split_metadata_size: 3,
            ..BrokerConfig::default()
        };
        let table: BTreeMap<String, ()> = ["a", "b", "c", "d", "e"].map(|key| (key.to_owned(), ())).into();
        let page = Page {
            first,
            data_version,
            most,
        }
        .of(table, VERSION, &config);
        page.into_keys().collect()
    }

    #[test]
    fn pages_follow_one_another_while_the_version_stays() {
        let same = fastjson::to_vec(&VERSION).unwrap();
        let same = std::str::from_utf8(&same).unwrap();
        assert_eq!(page(Some(0), Some(""), Some(2)), "ab");
        assert_eq!(page(Some(2), Some(same), Some(2)), "cd");
        assert_eq!(
            page(Some(3), Some(same), Some(100)),
            "de",
            "no more than splitMetadataSize at once"
        );
        assert_eq!(page(Some(9), Some(same), Some(2)), "");
    }

    #[test]
    fn a_changed_version_starts_over_and_old_clients_get_everything() {
        assert_eq!(
            page(Some(2), Some(r#"{"counter":2,"timestamp":7}"#), Some(2)),
            "ab"
        );
        assert_eq!(page(None, None, None), "abcde");
        assert_eq!(page(Some(-1), None, Some(-1)), "a", "nonsense does no harm");
    }
}
