//! What can be asked for, and how the answer looks on the wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Of the lines; a program of another version is told so.
pub(crate) const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    pub(crate) version: u32,
    /// Who became another user to ask this (`SUDO_USER`), as they say.
    pub(crate) through: Option<String>,
    pub(crate) request: ControlRequest,
}

/// Accounts are meant by their user names, as typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) enum ControlRequest {
    UserAdd(NewUser),
    UserList,
    UserShow(String),
    UserDisable(String),
    UserEnable(String),
    UserRemove(String),
    UserGroups {
        name: String,
        change: GroupChange,
    },
    UserReset(String),
    UserLink(String),
    /// A whole CSV file.
    UserImport(String),
    SessionList(Selection),
    SessionEnd(Selection),
}

/// Somebody who is to get an account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    pub(crate) name: String,
    pub(crate) display_name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) groups: Vec<String>,
}

/// What becomes of somebody's groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) enum GroupChange {
    Set(Vec<String>),
    AddAndRemove {
        add: Vec<String>,
        remove: Vec<String>,
    },
}

/// Sessions: all that fit everything that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selection {
    pub(crate) id: Option<String>,
    /// `issuer/name`, a name at any issuer, or an e-mail address.
    pub(crate) user: Option<String>,
    /// The inventory id.
    pub(crate) device: Option<String>,
    /// Nothing else is said, and that is meant: never understood from silence.
    pub(crate) all: bool,
}

/// The other line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) enum Answer {
    Done(Value),
    Refused(Refusal),
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(deny_unknown_fields)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Refusal {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn with_help(self, help: &str) -> Self {
        Self {
            help: Some(help.to_owned()),
            ..self
        }
    }
}

impl ControlRequest {
    /// What the record says was asked for; `None` for what only looks. Never holds a secret: a request has none.
    pub(crate) fn described(&self) -> Option<String> {
        Some(match self {
            Self::UserList | Self::UserShow(_) | Self::SessionList(_) => return None,
            Self::UserAdd(new) => format!("user add {}", new.name),
            Self::UserDisable(name) => format!("user disable {name}"),
            Self::UserEnable(name) => format!("user enable {name}"),
            Self::UserRemove(name) => format!("user remove {name}"),
            Self::UserGroups { name, change } => match change {
                GroupChange::Set(groups) => {
                    format!("user groups {name} --set {}", groups.join(","))
                }
                GroupChange::AddAndRemove { add, remove } => format!(
                    "user groups {name} --add {} --remove {}",
                    add.join(","),
                    remove.join(",")
                ),
            },
            Self::UserReset(name) => format!("user reset {name}"),
            Self::UserLink(name) => format!("user link {name}"),
            Self::UserImport(file) => format!("user import ({} bytes)", file.len()),
            Self::SessionEnd(which) => format!("session end {which}"),
        })
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words = Vec::new();
        words.extend(self.id.clone());
        words.extend(self.user.as_ref().map(|user| format!("--user {user}")));
        words.extend(self.device.as_ref().map(|id| format!("--device {id}")));
        words.extend(self.all.then(|| "--all".to_owned()));
        formatter.write_str(&words.join(" "))
    }
}
