//! The socket and what is asked through it: who is heard, what becomes of rubbish, and that nothing happens unrecorded.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use masugata_idp::{Accounts, LockoutRules, Settings};
use masugata_policy::{Authentication, Principal, PrincipalKind, Timestamp};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::accounts::Chance;
use super::client::{self, Silence};
use super::desk::Desk;
use super::execute::{Place, execute};
use super::operator::Operator;
use super::request::{ControlRequest, GroupChange, NewUser, Refusal, Selection};
use super::socket::{self, ControlError, Listening, admits};
use crate::audit::event::Person;
use crate::capability::SystemEntropy;
use crate::session::{Asked, Beginning, Secrets, Session, Sessions};

struct World {
    _directory: tempfile::TempDir,
    desk: Desk,
    place: Place,
    said: Arc<Mutex<Vec<String>>>,
    people: Arc<Mutex<Vec<Person>>>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let entropy = Arc::new(SystemEntropy::default());
        let settings = Settings {
            origin: "https://login.corp.example".to_owned(),
            organisation: "Corp".to_owned(),
            link_lifetime: Duration::from_secs(3600),
            passwords: true,
            breached: None,
            lockout: LockoutRules {
                free_failures: 3,
                first_delay: Duration::from_secs(1),
                max_delay: Duration::from_secs(60),
                lock_after: 10,
                lock: Duration::from_secs(900),
                window: Duration::from_secs(3600),
            },
        };
        let random = Arc::new(Chance(entropy.clone()));
        let accounts = Accounts::open(directory.path(), settings, random, Arc::new(|_| {}));
        let sessions = Sessions::open(directory.path(), entropy).unwrap();
        let (said, people) = (
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::<Mutex<Vec<Person>>>::default(),
        );
        let (said_to, people_to) = (Arc::clone(&said), Arc::clone(&people));
        Self {
            desk: Desk {
                people: None,
                sessions: Some(Arc::new(sessions)),
                accounts: Some(accounts.unwrap()),
                record: Arc::new(move |person| people_to.lock().unwrap().push(person)),
                operation: Arc::new(move |kind, detail| {
                    said_to.lock().unwrap().push(format!("{kind}: {detail}"));
                }),
                changed: Arc::new(|| {}),
                generation: 1,
            },
            place: Place {
                provider: Some("own".to_owned()),
                link_base: Some("https://login.corp.example/id/welcome#".to_owned()),
            },
            said,
            people,
            _directory: directory,
        }
    }

    async fn ask(&self, request: ControlRequest) -> Result<Value, Refusal> {
        let operator = Operator::of(4_000_000_000, Some("ada"));
        let now = Timestamp::from_seconds(1_800_000_000);
        execute(&self.desk, &self.place, request, &operator, now).await
    }

    async fn add(&self, name: &str) -> Value {
        let new = NewUser {
            name: name.to_owned(),
            groups: vec!["finance".to_owned()],
            ..NewUser::default()
        };
        self.ask(ControlRequest::UserAdd(new)).await.unwrap()
    }

    async fn signed_in(&self, user: &str, device: &str) -> Arc<Session> {
        let id = format!("own/{user}");
        let none: [&str; 0] = [];
        let beginning = Beginning {
            principal: Arc::new(Principal::new(
                PrincipalKind::User,
                &id,
                "own",
                None,
                none,
                none,
            )),
            authentication: Arc::new(Authentication::new(true, true, None, ["hwk"], None, true)),
            issuer: "own".into(),
            issuer_url: "https://login.corp.example/id".into(),
            subject: user.into(),
            provider_session: None,
            email: Some(format!("{user}@corp.example").into()),
            user_name: Some(user.into()),
            device: device.into(),
            thumbprint: [1; 32],
            asked: Asked::default(),
            secrets: Secrets::default(),
            refresh_at: None,
        };
        let now = Timestamp::from_seconds(1_799_999_000);
        let sessions = self.desk.sessions.as_ref().unwrap();
        sessions
            .begin("wiki.corp.example", beginning, None, now)
            .await
            .unwrap()
            .0
    }
}

fn of(name: &str) -> String {
    name.to_owned()
}

fn whose(user: &str) -> Selection {
    Selection {
        user: Some(of(user)),
        ..Selection::default()
    }
}

#[tokio::test]
async fn an_account_is_made_with_a_link_that_is_in_no_record() {
    let world = World::new();
    let made = world.add("Ada").await;
    assert_eq!(made["id"], "ada");
    assert_eq!(made["until"], 1_800_003_600_000_i64);
    let token = made["link"]
        .as_str()
        .unwrap()
        .strip_prefix("https://login.corp.example/id/welcome#")
        .unwrap();
    assert_eq!(token.len(), 43);
    let shown = world
        .ask(ControlRequest::UserShow(of("ada")))
        .await
        .unwrap();
    assert!(!shown.to_string().contains(token));
    let said = world.said.lock().unwrap().clone();
    assert_eq!(
        said,
        ["administration: (uid 4000000000, says to be ada): user add Ada"]
    );
    let twice = NewUser {
        name: of("ADA"),
        ..NewUser::default()
    };
    let refused = world.ask(ControlRequest::UserAdd(twice)).await.unwrap_err();
    assert_eq!(refused.message, "there is already an account `ada`");
}

#[tokio::test]
async fn what_takes_rights_away_ends_sessions() {
    let world = World::new();
    world.add("ada").await;
    let groups = GroupChange::AddAndRemove {
        add: vec![of("audit")],
        remove: vec![of("finance")],
    };
    for request in [
        ControlRequest::UserGroups {
            name: of("ada"),
            change: groups,
        },
        ControlRequest::UserReset(of("ada")),
        ControlRequest::UserDisable(of("ADA")),
        ControlRequest::UserRemove(of("ada")),
    ] {
        let (session, other) = (
            world.signed_in("ada", "LT-1").await,
            world.signed_in("grace", "LT-2").await,
        );
        world.people.lock().unwrap().clear();
        world.ask(request.clone()).await.unwrap();
        assert!(session.is_ended() && !other.is_ended(), "{request:?}");
        assert_eq!(world.people.lock().unwrap().len(), 1, "{request:?}");
        if request == ControlRequest::UserDisable(of("ADA")) {
            assert!(
                world
                    .ask(ControlRequest::UserLink(of("ada")))
                    .await
                    .is_err()
            );
            world
                .ask(ControlRequest::UserEnable(of("ada")))
                .await
                .unwrap();
        }
    }
    let gone = world
        .ask(ControlRequest::UserShow(of("ada")))
        .await
        .unwrap_err();
    assert_eq!(gone.message, "there is no account `ada`");
}

#[tokio::test]
async fn groups_are_set_added_and_removed() {
    let world = World::new();
    world.add("ada").await;
    for (change, after) in [
        (
            GroupChange::AddAndRemove {
                add: vec![of("b"), of("a")],
                remove: vec![of("finance")],
            },
            json!(["a", "b"]),
        ),
        (
            GroupChange::AddAndRemove {
                add: Vec::new(),
                remove: vec![of("none")],
            },
            json!(["a", "b"]),
        ),
        (GroupChange::Set(Vec::new()), json!([])),
    ] {
        let request = ControlRequest::UserGroups {
            name: of("ada"),
            change,
        };
        assert_eq!(world.ask(request).await.unwrap()["groups"], after);
    }
}

#[tokio::test]
async fn a_file_makes_accounts_with_links_or_none() {
    let world = World::new();
    let file = of("user,name,email,groups\nada,Ada,,a;b\ngrace,,,\n");
    let links = world
        .ask(ControlRequest::UserImport(file.clone()))
        .await
        .unwrap();
    assert_eq!(links.as_array().unwrap().len(), 2);
    assert!(links[1]["link"].as_str().unwrap().contains("/id/welcome#"));
    let refused = world
        .ask(ControlRequest::UserImport(file))
        .await
        .unwrap_err();
    assert!(refused.message.contains("line 2"), "{refused:?}");
    let all = world.ask(ControlRequest::UserList).await.unwrap();
    assert_eq!(all.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn sessions_are_found_and_ended_by_what_is_said() {
    let world = World::new();
    let ada = world.signed_in("ada", "LT-1").await;
    let grace = world.signed_in("grace", "LT-2").await;
    for (which, count) in [
        (whose("ada"), 1),
        (whose("ADA@corp.example"), 1),
        (whose("own/ada"), 1),
        (whose("own/ad"), 0),
        (whose(""), 0),
        (
            Selection {
                device: Some(of("LT-2")),
                ..whose("ada")
            },
            0,
        ),
        (Selection::default(), 2),
    ] {
        let found = world
            .ask(ControlRequest::SessionList(which.clone()))
            .await
            .unwrap();
        assert_eq!(found.as_array().unwrap().len(), count, "{which:?}");
    }
    let nothing = [
        Selection::default(),
        Selection {
            all: true,
            ..whose("ada")
        },
        whose("nobody"),
        Selection {
            id: Some(of("zz")),
            ..Selection::default()
        },
    ];
    for which in nothing {
        assert!(
            world
                .ask(ControlRequest::SessionEnd(which.clone()))
                .await
                .is_err(),
            "{which:?}"
        );
    }
    assert!(!ada.is_ended() && !grace.is_ended());
    let one = Selection {
        id: Some(ada.family.to_string()),
        ..Selection::default()
    };
    let ended = world.ask(ControlRequest::SessionEnd(one)).await.unwrap();
    assert_eq!(ended, json!({ "ended": [ada.family.to_string()] }));
    assert!(ada.is_ended() && !grace.is_ended());
    let all = Selection {
        all: true,
        ..Selection::default()
    };
    world
        .ask(ControlRequest::SessionEnd(all.clone()))
        .await
        .unwrap();
    assert!(grace.is_ended());
    assert_eq!(
        world.ask(ControlRequest::SessionEnd(all)).await.unwrap(),
        json!({ "ended": [] })
    );
    let people = world.people.lock().unwrap();
    let detail = people[0].detail.as_deref();
    assert_eq!(detail, Some("(uid 4000000000, says to be ada)"));
}

#[tokio::test]
async fn without_a_provider_or_sessions_it_is_said() {
    let mut world = World::new();
    world.desk.accounts = None;
    world.desk.sessions = None;
    assert!(
        world
            .ask(ControlRequest::UserList)
            .await
            .unwrap_err()
            .help
            .is_some()
    );
    let all = Selection {
        all: true,
        ..Selection::default()
    };
    assert!(
        world
            .ask(ControlRequest::SessionEnd(all))
            .await
            .unwrap_err()
            .help
            .is_some()
    );
}

#[test]
fn only_the_own_user_and_root_are_heard() {
    assert!(admits(1000, 1000) && admits(0, 1000) && admits(0, 0));
    assert!(!admits(1001, 1000) && !admits(1000, 0) && !admits(u32::MAX, 0));
}

/// A socket that repeats what it is asked.
fn listening(store: &Path) -> CancellationToken {
    let stop = CancellationToken::new();
    let answer = |call: super::request::Call, operator: Operator| async move {
        assert!(operator.to_string().contains("uid"));
        Ok(json!(format!("{:?}", call.request)))
    };
    let bound = Listening::bind(store).unwrap();
    tokio::spawn(bound.serve(answer, stop.clone()));
    stop
}

fn private() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(directory.path(), mode).unwrap();
    directory
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn the_socket_is_for_its_owner_in_a_directory_of_its_own() {
    let directory = private();
    let store = directory.path().to_owned();
    let stop = listening(&store);
    let path = socket::path(&store);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let again = Listening::bind(&store);
    assert!(matches!(again, Err(ControlError::InUse(_))));
    let asked = store.clone();
    let answer = off_thread(move || client::ask(&asked, ControlRequest::UserList)).await;
    assert_eq!(answer.unwrap().unwrap(), json!("UserList"));
    stop.cancel();
    for _ in 0..100 {
        if !path.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let silence = off_thread(move || client::ask(&store, ControlRequest::UserList)).await;
    assert!(matches!(silence, Err(Silence::Nobody)));
}

#[tokio::test]
async fn an_open_directory_or_a_file_in_the_way_is_an_error() {
    let directory = private();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    assert!(matches!(
        Listening::bind(directory.path()),
        Err(ControlError::Open { mode: 0o755, .. })
    ));
    let directory = private();
    std::fs::write(socket::path(directory.path()), "precious").unwrap();
    assert!(matches!(
        Listening::bind(directory.path()),
        Err(ControlError::NotASocket(_))
    ));
    assert_eq!(
        std::fs::read(socket::path(directory.path())).unwrap(),
        b"precious"
    );
    let target = directory.path().join("elsewhere");
    std::fs::remove_file(socket::path(directory.path())).unwrap();
    std::os::unix::fs::symlink(&target, socket::path(directory.path())).unwrap();
    assert!(matches!(
        Listening::bind(directory.path()),
        Err(ControlError::NotASocket(_))
    ));
}

#[tokio::test]
async fn what_a_killed_gateway_left_behind_is_replaced() {
    let directory = private();
    let path = socket::path(directory.path());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let stop = listening(directory.path());
    let store = directory.path().to_owned();
    let answer = off_thread(move || client::ask(&store, ControlRequest::UserList)).await;
    assert!(answer.unwrap().is_ok());
    stop.cancel();
}

#[tokio::test]
async fn rubbish_is_refused_and_the_next_one_is_served() {
    let directory = private();
    let stop = listening(directory.path());
    let path = socket::path(directory.path());
    let send = |bytes: Vec<u8>| {
        let path = path.clone();
        off_thread(move || {
            let mut stream = UnixStream::connect(path).unwrap();
            // Refused before it has all arrived, perhaps.
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            answer
        })
    };
    for (line, word) in [
        (b"\n".to_vec(), "makes no sense"),
        (b"\xff\xfe\n".to_vec(), "makes no sense"),
        (b"{}\n".to_vec(), "makes no sense"),
        (
            b"{\"version\":1,\"through\":null,\"request\":\"user-list\",\"more\":1}\n".to_vec(),
            "makes no sense",
        ),
        (
            b"{\"version\":1,\"through\":null,\"request\":{\"user-burn\":\"x\"}}\n".to_vec(),
            "makes no sense",
        ),
        (
            b"{\"version\":2,\"through\":null,\"request\":\"user-list\"}\n".to_vec(),
            "another version",
        ),
        (b"{\"version\":1,".to_vec(), "does not end"),
        (
            b"{\"version\":1,\"through\":null,\"request\":\"user-list\"}\n".to_vec(),
            "UserList",
        ),
    ] {
        let answer = send(line).await;
        assert!(
            answer.contains(word) && answer.ends_with('\n'),
            "{word}: {answer}"
        );
    }
    let long = send(vec![b'x'; 12 * 1024 * 1024 + 1]).await;
    assert!(long.is_empty() || long.contains("too long"), "{long}");
    assert!(
        send(b"{\"version\":1,\"through\":null,\"request\":\"user-list\"}\n".to_vec())
            .await
            .contains("UserList")
    );
    stop.cancel();
}

#[tokio::test]
async fn whoever_says_nothing_holds_nobody_up() {
    let directory = private();
    let stop = listening(directory.path());
    let path = socket::path(directory.path());
    let silent: Vec<UnixStream> = (0..5)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    let store = directory.path().to_owned();
    let answer = off_thread(move || client::ask(&store, ControlRequest::UserList)).await;
    assert!(answer.unwrap().is_ok());
    drop(silent);
    stop.cancel();
}
