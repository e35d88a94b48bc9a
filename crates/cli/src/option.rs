//! Options of actions as typed on the command line: `[ACTION.]key=value`.

use std::collections::BTreeMap;
use std::str::FromStr;

use model::Action;

/// One `--option`. Without an action it is meant for every action asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActionOption {
    action: Option<Action>,
    key: String,
    value: String,
}

/// Options by action, as jobs store them.
pub(crate) type ByAction = BTreeMap<Action, BTreeMap<String, String>>;

impl FromStr for ActionOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((key, value)) = text.split_once('=') else {
            return Err("KEY=VALUE is wanted, or ACTION.KEY=VALUE".to_owned());
        };
        // Keys hold dots themselves (`partial-progress.enabled`): only an action's name is a prefix.
        let (action, key) = match key.split_once('.') {
            Some((first, rest)) => match first.parse() {
                Ok(action) => (Some(action), rest),
                Err(_) => (None, key),
            },
            None => (None, key),
        };
        if key.is_empty() {
            return Err("the key before `=` is empty".to_owned());
        }
        Ok(Self {
            action,
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// Sorts the options to the actions asked; refuses one for an action not asked and one given twice.
pub(crate) fn by_action(actions: &[Action], options: &[ActionOption]) -> Result<ByAction, String> {
    let mut sorted = ByAction::new();
    for option in options {
        let meant: Vec<Action> = match option.action {
            Some(action) if !actions.contains(&action) => {
                return Err(format!(
                    "option `{action}.{}`: {action} is not among the actions asked",
                    option.key
                ));
            }
            Some(action) => vec![action],
            None => actions.to_vec(),
        };
        for action in meant {
            let known = sorted.entry(action).or_default();
            if let Some(first) = known.insert(option.key.clone(), option.value.clone())
                && first != option.value
            {
                return Err(format!(
                    "option `{action}.{}` is given twice: `{first}` and `{}`",
                    option.key, option.value
                ));
            }
        }
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: [Action; 2] = [Action::RewriteDataFiles, Action::ExpireSnapshots];

    #[track_caller]
    fn check(options: &[&str], want: &str) {
        let options: Vec<ActionOption> = options.iter().map(|text| text.parse().unwrap()).collect();
        let got = match by_action(&ASKED, &options) {
            Ok(sorted) => format!("{sorted:?}"),
            Err(why) => why,
        };
        assert_eq!(got, want);
    }

    #[test]
    fn an_option_goes_to_its_action_or_to_all() {
        check(
            &["a=1", "rewrite_data_files.b=x=y"],
            r#"{ExpireSnapshots: {"a": "1"}, RewriteDataFiles: {"a": "1", "b": "x=y"}}"#,
        );
    }

    #[test]
    fn a_dot_in_a_key_is_no_action() {
        check(
            &["rewrite_data_files.partial-progress.enabled=true"],
            r#"{RewriteDataFiles: {"partial-progress.enabled": "true"}}"#,
        );
        let option: ActionOption = "partial-progress.enabled=true".parse().unwrap();
        assert_eq!(
            (option.action, option.key.as_str()),
            (None, "partial-progress.enabled")
        );
    }

    #[test]
    fn contradictions_are_refused() {
        check(
            &["rewrite_manifests.a=1"],
            "option `rewrite_manifests.a`: rewrite_manifests is not among the actions asked",
        );
        check(
            &["rewrite_data_files.a=1", "rewrite_data_files.a=2"],
            "option `rewrite_data_files.a` is given twice: `1` and `2`",
        );
    }

    #[test]
    fn a_missing_key_or_value_is_refused() {
        for (text, why) in [
            ("a", "KEY=VALUE"),
            ("=1", "empty"),
            ("rewrite_data_files.=1", "empty"),
        ] {
            let error = text.parse::<ActionOption>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
