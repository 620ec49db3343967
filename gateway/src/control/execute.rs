//! Carries out what an administrator asks for, in the gateway or without one.

use masugata_idp::{Account, AccountError, Accounts, Actor as By, ImportError, Link, NewAccount};
use masugata_policy::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::desk::{Desk, Note};
use super::operator::Operator;
use super::request::{ControlRequest, GroupChange, NewUser, Refusal, Selection};
use crate::audit::event::Actor;
use crate::session::{SessionId, SessionView, Sessions, Which};

/// What of the configuration matters here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// The built-in provider's name, first half of its people's ids.
    pub(crate) provider: Option<String>,
    /// A first sign-in link without its token.
    pub(crate) link_base: Option<String>,
}

/// Does it. What was asked for is on record before it is done.
///
/// # Errors
/// Why it was not done, in words for whoever asked.
pub(crate) async fn execute(
    desk: &Desk,
    place: &Place,
    request: ControlRequest,
    operator: &Operator,
    now: Timestamp,
) -> Result<Value, Refusal> {
    if let Some(asked) = request.described() {
        (desk.operation)("administration", format!("{operator}: {asked}"));
    }
    let work = Work {
        desk,
        place,
        note: Note {
            at: now,
            by: Actor::Administrator,
            client: None,
            request: None,
            detail: Some(operator.to_string().into()),
        },
    };
    match request {
        ControlRequest::UserAdd(new) => work.add(new).await,
        ControlRequest::UserList => {
            let accounts = work.accounts()?.list();
            Ok(accounts.iter().map(|it| work.shown(it)).collect())
        }
        ControlRequest::UserShow(name) => Ok(work.shown(&work.account(&name)?)),
        ControlRequest::UserDisable(name) => {
            let accounts = work.accounts()?;
            let account = accounts.disable(&name, By::Administrator, work.now());
            let account = account.await.map_err(refusal)?;
            work.end_all_of(&account.id).await;
            Ok(work.shown(&account))
        }
        ControlRequest::UserEnable(name) => {
            let accounts = work.accounts()?;
            let account = accounts.enable(&name, By::Administrator, work.now());
            Ok(work.shown(&account.await.map_err(refusal)?))
        }
        ControlRequest::UserRemove(name) => {
            let account = work.account(&name)?;
            let accounts = work.accounts()?;
            let removed = accounts.remove(&name, By::Administrator, work.now());
            removed.await.map_err(refusal)?;
            work.end_all_of(&account.id).await;
            Ok(json!({ "id": account.id }))
        }
        ControlRequest::UserGroups { name, change } => work.groups(&name, change).await,
        ControlRequest::UserReset(name) => {
            let account = work.account(&name)?;
            let accounts = work.accounts()?;
            let link = accounts.reset(&name, By::Administrator, work.now());
            let link = link.await.map_err(refusal)?;
            work.end_all_of(&account.id).await;
            work.link(&account.id, &link)
        }
        ControlRequest::UserLink(name) => {
            let account = work.account(&name)?;
            let accounts = work.accounts()?;
            let link = accounts.link(&name, By::Administrator, work.now());
            work.link(&account.id, &link.await.map_err(refusal)?)
        }
        ControlRequest::UserImport(file) => work.import(file).await,
        ControlRequest::SessionList(which) => {
            let views = work.selected(&which)?;
            serde_json::to_value(views).map_err(|error| Refusal::new(error.to_string()))
        }
        ControlRequest::SessionEnd(which) => work.end(&which).await,
    }
}

struct Work<'a> {
    desk: &'a Desk,
    place: &'a Place,
    note: Note,
}

impl Work<'_> {
    fn now(&self) -> i64 {
        self.note.at.as_millis()
    }

    fn accounts(&self) -> Result<&Accounts, Refusal> {
        self.desk.accounts.as_ref().ok_or_else(|| {
            Refusal::new("there are no accounts here: the built-in identity provider is off")
                .with_help("turn it on with [identity_provider], or manage people where they are provisioned")
        })
    }

    fn account(&self, name: &str) -> Result<Account, Refusal> {
        let unknown = || refusal(AccountError::Unknown(name.into()));
        self.accounts()?.get(name).ok_or_else(unknown)
    }

    fn sessions(&self) -> Result<&Sessions, Refusal> {
        self.desk.sessions.as_deref().ok_or_else(|| {
            Refusal::new("there are no sessions here: nobody signs in with a browser")
                .with_help("turn it on with [sign_in]")
        })
    }

    async fn add(&self, new: NewUser) -> Result<Value, Refusal> {
        let accounts = self.accounts()?;
        let new = NewAccount {
            user: new.name,
            display_name: new.display_name.unwrap_or_default(),
            email: new.email,
            groups: new.groups,
            external_id: None,
        };
        let account = accounts.add(new, By::Administrator, self.now());
        let account = account.await.map_err(refusal)?;
        let link = accounts.link(&account.id, By::Administrator, self.now());
        self.link(&account.id, &link.await.map_err(refusal)?)
    }

    async fn groups(&self, name: &str, change: GroupChange) -> Result<Value, Refusal> {
        let account = self.account(name)?;
        let groups = match change {
            GroupChange::Set(groups) => groups,
            GroupChange::AddAndRemove { add, remove } => {
                let stays = account.groups.iter().map(ToString::to_string);
                let stays = stays.filter(|group| !remove.contains(group));
                stays.chain(add).collect()
            }
        };
        let accounts = self.accounts()?;
        let account = accounts.set_groups(name, groups, By::Administrator, self.now());
        let account = account.await.map_err(refusal)?;
        // What the session was made with says otherwise: the next sign-in has the new groups.
        self.end_all_of(&account.id).await;
        Ok(self.shown(&account))
    }

    async fn import(&self, file: String) -> Result<Value, Refusal> {
        let accounts = self.accounts()?;
        let imported = accounts.import_csv(file.into_bytes(), By::Administrator, self.now());
        let imported = imported.await.map_err(|error| match error {
            ImportError::Problems(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Refusal::new(format!("nothing was imported\n{}", lines.join("\n"))).with_help(
                    "the file begins with a line `user,name,email,groups`; groups are separated by `;`",
                )
            }
            ImportError::Account(error) => refusal(error),
        })?;
        let links = imported.iter();
        links
            .map(|one| self.link(&one.account.id, &one.link))
            .collect()
    }

    /// The one secret that is ever shown, to whoever asked for it.
    fn link(&self, id: &str, link: &Link) -> Result<Value, Refusal> {
        let base = self.place.link_base.as_deref();
        let base = base.ok_or_else(|| Refusal::new("there is no host where people sign in"))?;
        let token = link.token.expose_secret();
        Ok(json!({ "id": id, "link": format!("{base}{token}"), "until": link.until }))
    }

    fn shown(&self, account: &Account) -> Value {
        let mut value = json!(account);
        if let Some(members) = value.as_object_mut() {
            let passwords = self.desk.accounts.as_ref().map(Accounts::passwords);
            let ready = account.can_sign_in(passwords.unwrap_or_default());
            members.insert("can_sign_in".to_owned(), json!(ready));
        }
        value
    }

    async fn end_all_of(&self, account: &str) {
        if let Some(provider) = &self.place.provider {
            let principal = format!("{provider}/{account}").into();
            self.desk
                .end(&Which::Principal(principal), &self.note)
                .await;
        }
        self.desk.moved();
    }

    fn selected(&self, which: &Selection) -> Result<Vec<SessionView>, Refusal> {
        let mut views = self.sessions()?.list();
        views.retain(|view| fits(which, view));
        Ok(views)
    }

    async fn end(&self, which: &Selection) -> Result<Value, Refusal> {
        let said = which.id.is_some() || which.user.is_some() || which.device.is_some();
        // Exactly one way: a slip must not end everybody's day.
        if said == which.all {
            let help = "name an id, `--user`, `--device`, or `--all`";
            return Err(Refusal::new("whose sessions are to end is not said").with_help(help));
        }
        let ids: Vec<SessionId> = self
            .selected(which)?
            .iter()
            .filter_map(|view| SessionId::parse(&view.id))
            .collect();
        // At once, where one word says it all: nobody slips in between looking and ending.
        let whole = match (which.all, &which.device, &which.id, &which.user) {
            (true, ..) => Some(Which::All),
            (false, Some(device), None, None) => Some(Which::Device(device.as_str().into())),
            (false, ..) => None,
        };
        if ids.is_empty() && !which.all {
            let help = "`masugata session list` shows all";
            return Err(Refusal::new(format!("no session fits `{which}`")).with_help(help));
        }
        let mut ended = Vec::new();
        let each = whole.map_or_else(
            || ids.into_iter().map(Which::Family).collect(),
            |whole| vec![whole],
        );
        for which in each {
            for one in self.desk.end(&which, &self.note).await {
                ended.push(one.family.to_string());
            }
        }
        Ok(json!({ "ended": ended }))
    }
}

fn fits(which: &Selection, view: &SessionView) -> bool {
    let user = which.user.as_deref().is_none_or(|user| {
        let (_, name) = view.principal.split_once('/').unwrap_or_default();
        let email = view.email.as_deref();
        view.principal == user
            || name.eq_ignore_ascii_case(user)
            || email.is_some_and(|email| email.eq_ignore_ascii_case(user))
    });
    let id = which
        .id
        .as_ref()
        .is_none_or(|id| view.id.eq_ignore_ascii_case(id));
    user && id && which.device.as_ref().is_none_or(|id| view.device == *id)
}

fn refusal(error: AccountError) -> Refusal {
    let help = match &error {
        AccountError::Unknown(_) => Some("`masugata user list` shows all"),
        AccountError::Exists(_) => Some("`masugata user show` shows it"),
        AccountError::Used(_) => {
            Some("choose another name: whoever had this one may still be named in policies")
        }
        AccountError::Disabled(_) => Some("`masugata user enable` first"),
        AccountError::ExternalId(_) | AccountError::Invalid { .. } | AccountError::Store(_) => None,
    };
    let refusal = Refusal::new(error.to_string());
    match help {
        Some(help) => refusal.with_help(help),
        None => refusal,
    }
}
