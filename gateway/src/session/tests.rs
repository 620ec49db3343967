//! What holds for sessions as a whole: who is found, until when, and what a restart leaves of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use masugata_policy::{Authentication, Principal, PrincipalKind, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use super::cookie::Print;
use super::hand_over::Refused;
use super::*;
use crate::capability::SystemEntropy;

const HOST: &str = "login.example";
const APP: &str = "app.example";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_795_000_000 + seconds)
}

fn minutes(idle: u64, absolute: u64) -> Lifetime {
    Lifetime {
        idle: Duration::from_secs(idle * 60),
        absolute: Duration::from_secs(absolute * 60),
    }
}

fn open(directory: &Path) -> Sessions {
    Sessions::open(directory, Arc::new(SystemEntropy::default())).unwrap()
}

fn of(user: &str) -> Beginning {
    let id = format!("corp/{user}");
    let none = [] as [&str; 0];
    let principal = Principal::new(
        PrincipalKind::User,
        &id,
        "corp",
        Some("名前"),
        ["staff", "sales"],
        none,
    );
    Beginning {
        principal: Arc::new(principal),
        authentication: Arc::new(Authentication::new(
            true,
            false,
            Some("gold"),
            ["pwd", "otp"],
            Some(at(-30)),
            false,
        )),
        issuer: "corp".into(),
        issuer_url: "https://idp.example".into(),
        subject: format!("sub-{user}").into(),
        provider_session: Some(format!("sid-{user}").into()),
        email: Some(format!("{user}@example.com").into()),
        user_name: Some(user.into()),
        device: "laptop-1".into(),
        thumbprint: [7; 32],
        asked: Asked::default(),
        secrets: Secrets {
            id_token: Some(SecretString::from("the-id-token")),
            refresh_token: Some(SecretString::from("the-refresh-token")),
        },
        refresh_at: None,
    }
}

/// A session of `user` with its cookies at the sign-in host and at the app.
async fn sign_in(sessions: &Sessions, user: &str) -> (Arc<Session>, Secret, Secret) {
    let (session, here) = sessions.begin(HOST, of(user), None, at(0)).await.unwrap();
    let there = sessions.attach(&session, APP).await.unwrap();
    (session, here, there)
}

fn family(session: &Session) -> Which {
    Which::Family(session.family)
}

#[tokio::test]
async fn a_cookie_counts_at_its_host_only() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let (session, here, there) = sign_in(&sessions, "ada").await;
    assert_eq!(sessions.find(HOST, &here).unwrap().id, session.id);
    assert_eq!(sessions.find(APP, &there).unwrap().id, session.id);
    assert!(sessions.find(APP, &here).is_none() && sessions.find(HOST, &there).is_none());
    assert!(
        session.authentication.certificate_bound,
        "it is bound to the device"
    );
}

#[tokio::test]
async fn a_step_up_has_new_cookies_and_the_old_ones_of_its_hosts_die() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let (first, here, there) = sign_in(&sessions, "ada").await;
    let other = sessions.attach(&first, "other.example").await.unwrap();
    let begun = sessions.begin(HOST, of("ada"), Some(&first), at(9)).await;
    let (second, here_now) = begun.unwrap();
    assert!(second.family == first.family && second.id != first.id);
    assert!(sessions.find(HOST, &here).is_none());
    assert_eq!(sessions.find(HOST, &here_now).unwrap().id, second.id);
    // Not upgraded: the app has the old assurance until it is handed the new session.
    assert_eq!(sessions.find(APP, &there).unwrap().id, first.id);
    let there_now = sessions.attach(&second, APP).await.unwrap();
    assert!(sessions.find(APP, &there).is_none());
    assert_eq!(sessions.find(APP, &there_now).unwrap().id, second.id);
    assert_eq!(sessions.find("other.example", &other).unwrap().id, first.id);
    assert_eq!(sessions.list().len(), 1);
    let ended = sessions.end(&family(&first)).durable().await;
    assert_eq!(ended.len(), 1);
    assert!(first.is_ended() && second.is_ended());
    assert!(sessions.find("other.example", &other).is_none());
}

#[tokio::test]
async fn an_overtaken_session_is_still_ended_with_its_family() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let (first, _) = sessions.begin(HOST, of("ada"), None, at(0)).await.unwrap();
    let begun = sessions.begin(HOST, of("ada"), Some(&first), at(1)).await;
    let (second, _) = begun.unwrap();
    // A WebSocket still holds the first; nothing else leads to it.
    let _spent = sessions.end_spent(minutes(60, 600), at(2)).durable().await;
    let _ended = sessions.end(&family(&second)).durable().await;
    assert!(first.is_ended());
}

#[tokio::test]
async fn somebody_else_in_the_same_browser_is_another_family() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let (ada, ..) = sign_in(&sessions, "ada").await;
    let begun = sessions.begin(HOST, of("bob"), Some(&ada), at(1)).await;
    assert_ne!(begun.unwrap().0.family, ada.family);
    let elsewhere = Beginning {
        thumbprint: [8; 32],
        ..of("ada")
    };
    let begun = sessions.begin(HOST, elsewhere, Some(&ada), at(1)).await;
    assert_ne!(begun.unwrap().0.family, ada.family);
}

#[tokio::test]
async fn a_session_that_has_ended_is_neither_stepped_up_nor_handed_over() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let (session, ..) = sign_in(&sessions, "ada").await;
    let before = sessions.epoch();
    let _ended = sessions.end(&family(&session)).durable().await;
    assert_ne!(sessions.epoch(), before);
    let attached = sessions.attach(&session, "new.example").await;
    assert!(matches!(attached, Err(StoreError::Gone)));
    let begun = sessions.begin(HOST, of("ada"), Some(&session), at(1)).await;
    assert!(matches!(begun, Err(StoreError::Gone)));
    assert_eq!(sessions.list(), []);
}

#[tokio::test]
async fn what_ends_whom() {
    let some = |text: &str| Some(Box::from(text));
    let provider = |subject, session| Which::Provider {
        issuer: "corp".into(),
        subject,
        session,
    };
    let user = |subject, user_name, email| Which::User {
        issuer: "corp".into(),
        subject,
        user_name,
        email,
    };
    for (which, expected) in [
        (Which::Principal("corp/ada".into()), 1),
        (Which::Principal("corp/ad".into()), 0),
        (Which::Device("laptop-1".into()), 2),
        (Which::Device("laptop-2".into()), 0),
        (Which::All, 2),
        (provider(some("sub-ada"), None), 1),
        (provider(None, some("sid-bob")), 1),
        (provider(some("sub-ada"), some("sid-bob")), 0),
        (provider(some("sub-ada"), some("sid-ada")), 1),
        // A notice that names nobody ends nobody.
        (provider(None, None), 0),
        (user(some("sub-ada"), None, None), 1),
        (user(None, some("bob"), None), 1),
        (user(None, None, some("ADA@example.com")), 1),
        (user(some("sub-x"), some("ada"), None), 1),
        (user(None, None, None), 0),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let sessions = open(directory.path());
        sign_in(&sessions, "ada").await;
        sign_in(&sessions, "bob").await;
        let ended = sessions.end(&which).durable().await;
        assert_eq!(ended.len(), expected, "{which:?}");
    }
}

#[tokio::test]
async fn all_others_are_all_but_one() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let (keep, here, _) = sign_in(&sessions, "ada").await;
    sign_in(&sessions, "ada").await;
    sign_in(&sessions, "bob").await;
    let which = Which::Others {
        principal: "corp/ada".into(),
        keep: keep.family,
    };
    assert_eq!(sessions.end(&which).durable().await.len(), 1);
    assert!(sessions.find(HOST, &here).is_some());
    assert_eq!(sessions.list().len(), 2);
}

#[tokio::test]
async fn a_restart_signs_nobody_out_and_brings_nobody_back() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let (ada, here, there) = sign_in(&sessions, "ada").await;
    let (bob, bobs, _) = sign_in(&sessions, "bob").await;
    ada.touch(at(100));
    let _ended = sessions.end(&family(&bob)).durable().await;
    let before = sessions.list();
    sessions.close(at(100));

    let sessions = open(directory.path());
    let again = sessions.find(HOST, &here).unwrap();
    assert_eq!(sessions.find(APP, &there).unwrap().id, ada.id);
    assert!(sessions.find(HOST, &bobs).is_none());
    assert_eq!(sessions.list(), before);
    assert_eq!(again.last_used(), at(100));
    assert_eq!(again.thumbprint, ada.thumbprint);
    let (was, is) = (ada.principal(), again.principal());
    assert_eq!(
        (is.id(), is.name(), is.groups()),
        (was.id(), was.name(), was.groups())
    );
    let (was, is) = (&ada.authentication, &again.authentication);
    assert_eq!((is.multi_factor, is.phishing_resistant), (true, false));
    assert_eq!((&is.acr, &is.amr), (&was.acr, &was.amr));
    assert_eq!(is.authenticated_at, was.authenticated_at);
    let secrets = sessions.secrets(&again).await.unwrap();
    assert_eq!(secrets.id_token.unwrap().expose_secret(), "the-id-token");
    assert_eq!(
        secrets.refresh_token.unwrap().expose_secret(),
        "the-refresh-token"
    );
}

// A crash writes no last uses: sessions seem to have been left alone for longer, never for less.
#[tokio::test]
async fn a_crash_makes_nothing_last_longer() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let (session, here, _) = sign_in(&sessions, "ada").await;
    session.touch(at(600));
    // The writer is stopped, and nothing was flushed.
    sessions.stop_writing();
    let sessions = open(directory.path());
    assert_eq!(sessions.find(HOST, &here).unwrap().last_used(), at(0));
}

#[tokio::test]
async fn no_secret_is_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let (_, here, there) = sign_in(&sessions, "ada").await;
    sessions.close(at(1));
    let file = std::fs::read(directory.path().join("sessions.redb")).unwrap();
    let holds = |text: &[u8]| file.windows(text.len()).any(|window| window == text);
    assert!(holds(b"corp/ada"), "the file is what it is taken for");
    for secret in [
        here.expose(),
        there.expose(),
        "the-id-token".into(),
        "the-refresh-token".into(),
    ] {
        assert!(!holds(secret.as_bytes()));
        if let Some(secret) = Secret::parse(secret.as_bytes()) {
            let print = secret.print();
            assert!(Print::parse(&print.text()).unwrap().is(&print));
            let raw = base64_of(&secret.expose());
            assert!(!holds(&raw));
        }
    }
}

fn base64_of(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .unwrap()
}

#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let _sessions = open(directory.path());
    for name in ["sessions.redb", "sessions.key"] {
        let mode = std::fs::metadata(directory.path().join(name)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

// Attack, or a broken disk: an empty table would sign everybody out unseen, or forget who was thrown out.
#[tokio::test]
async fn a_damaged_file_is_an_error_and_never_an_empty_table() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("emptied", |file| std::fs::write(file, b"").unwrap()),
        ("overwritten", |file| {
            std::fs::write(file, [b'x'; 4096]).unwrap()
        }),
        ("cut", |file| {
            let bytes = std::fs::read(file).unwrap();
            std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("bits turned", |file| {
            let mut bytes = std::fs::read(file).unwrap();
            let at = bytes
                .windows(8)
                .position(|window| window == b"corp/ada")
                .unwrap();
            bytes[at] ^= 1;
            std::fs::write(file, bytes).unwrap();
        }),
        ("another version", |file| {
            let database = redb::Database::open(file).unwrap();
            let transaction = database.begin_write().unwrap();
            let about: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("about");
            transaction
                .open_table(about)
                .unwrap()
                .insert("version", 99)
                .unwrap();
            transaction.commit().unwrap();
        }),
    ];
    for (how, damage) in damages {
        let directory = tempfile::tempdir().unwrap();
        let sessions = open(directory.path());
        sign_in(&sessions, "ada").await;
        sessions.close(at(1));
        drop(sessions);
        damage(&directory.path().join("sessions.redb"));
        let opened = Sessions::open(directory.path(), Arc::new(SystemEntropy::default()));
        let error = opened.err().expect(how);
        assert!(
            matches!(error, StoreError::Damaged { .. }),
            "{how}: {error}"
        );
        assert!(error.to_string().contains("move the file away"), "{how}");
    }
}

#[tokio::test]
async fn a_file_without_its_key_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).close(at(0));
    std::fs::remove_file(directory.path().join("sessions.key")).unwrap();
    let opened = Sessions::open(directory.path(), Arc::new(SystemEntropy::default()));
    let error = opened.err().unwrap();
    assert!(matches!(error, StoreError::KeyMissing { .. }), "{error}");
    assert!(error.to_string().contains("move that away"), "{error}");
}

#[tokio::test]
async fn a_file_is_one_process_s() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(directory.path());
    let second = Sessions::open(directory.path(), Arc::new(SystemEntropy::default()));
    assert!(matches!(second.err(), Some(StoreError::InUse(_))));
}

#[tokio::test]
async fn a_session_is_over_by_level() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let (session, ..) = sign_in(&sessions, "ada").await;
    let (low, high) = (minutes(60, 600), minutes(15, 480));
    assert_eq!(session.check(high, at(15 * 60)), Ok(()));
    assert_eq!(session.check(high, at(15 * 60 + 1)), Err(Over::Idle));
    assert_eq!(session.check(low, at(15 * 60 + 1)), Ok(()));
    // Using something else in between does not open it again.
    session.touch(at(20 * 60));
    assert_eq!(session.check(low, at(20 * 60)), Ok(()));
    assert_eq!(session.check(high, at(20 * 60)), Err(Over::Idle));
    // Since the person proved who they are, half a minute before the session began.
    let end = 480 * 60 - 30;
    assert_eq!(session.ends_at(high), at(end));
    assert_eq!(session.check(high, at(end)), Err(Over::Absolute));
    let _ended = sessions.end(&family(&session)).durable().await;
    assert_eq!(session.check(low, at(0)), Err(Over::Ended));
}

#[tokio::test]
async fn a_provider_cannot_put_off_the_end_by_naming_the_future() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let none = [] as [&str; 0];
    let future = Authentication::new(true, true, None, none, Some(at(1_000_000)), false);
    let beginning = Beginning {
        authentication: Arc::new(future),
        ..of("ada")
    };
    let (session, _) = sessions.begin(HOST, beginning, None, at(0)).await.unwrap();
    assert_eq!(session.proved_at(), at(0));
}

#[tokio::test]
async fn what_is_over_for_everything_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let (ada, here, _) = sign_in(&sessions, "ada").await;
    let (bob, bobs, _) = sign_in(&sessions, "bob").await;
    bob.touch(at(50 * 60));
    let ended = sessions
        .end_spent(minutes(60, 600), at(61 * 60))
        .durable()
        .await;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].session.id, ada.id);
    assert!(sessions.find(HOST, &here).is_none() && sessions.find(HOST, &bobs).is_some());
}

#[tokio::test]
async fn a_provider_that_is_asked_again_may_name_other_groups() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let beginning = Beginning {
        refresh_at: Some(at(300)),
        ..of("ada")
    };
    let (session, here) = sessions.begin(HOST, beginning, None, at(0)).await.unwrap();
    assert_eq!(sessions.due(at(299)).len(), 0);
    assert_eq!(sessions.due(at(300)).len(), 1);
    let none = [] as [&str; 0];
    let other = Principal::new(
        PrincipalKind::User,
        "corp/ada",
        "corp",
        None,
        ["left"],
        none,
    );
    let secrets = Secrets {
        id_token: None,
        refresh_token: Some(SecretString::from("the-next")),
    };
    let renewed = sessions
        .renew(&session, &secrets, Some(Arc::new(other)))
        .await;
    renewed.unwrap();
    session.refresh_again(at(600));
    assert_eq!(sessions.due(at(599)).len(), 0);
    sessions.close(at(1));
    let sessions = open(directory.path());
    let again = sessions.find(HOST, &here).unwrap();
    assert_eq!(again.principal().groups(), [Box::from("left")]);
    let kept = sessions.secrets(&again).await.unwrap().refresh_token;
    assert_eq!(kept.unwrap().expose_secret(), "the-next");
    assert_eq!(
        sessions.due(at(2)).len(),
        1,
        "asked at once after a restart"
    );
}

#[tokio::test]
async fn a_hand_over_is_for_one_browser_on_one_device_at_one_host_once() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = open(directory.path());
    let entropy = SystemEntropy::default();
    let (session, ..) = sign_in(&sessions, "ada").await;
    let hand_overs = HandOvers::default();
    let (start, other) = (Secret::new(&entropy), Secret::new(&entropy));
    let give = || {
        let hand_over = HandOver {
            session: Arc::clone(&session),
            bind: start.print(),
            to: "/path?q".into(),
        };
        hand_overs.give(APP, hand_over, &entropy, at(0))
    };
    let take = |host: &str, code: &Secret, start: Option<&Secret>, print: u8, now| {
        let taken = hand_overs.take((host, code), start, &[print; 32], now);
        taken.map(|hand_over| hand_over.to)
    };
    let code = give();
    assert_eq!(
        take(APP, &code, Some(&start), 7, at(59)),
        Ok("/path?q".into())
    );
    assert_eq!(
        take(APP, &code, Some(&start), 7, at(59)),
        Err(Refused::Unknown),
        "replayed"
    );
    let code = give();
    assert_eq!(
        take("b.example", &code, Some(&start), 7, at(1)),
        Err(Refused::Unknown)
    );
    // Login CSRF: the link is opened in another browser, or in none that began anything.
    for start in [Some(&other), None] {
        assert_eq!(
            take(APP, &give(), start, 7, at(1)),
            Err(Refused::OtherBrowser)
        );
    }
    let code = give();
    assert_eq!(
        take(APP, &code, Some(&start), 8, at(1)),
        Err(Refused::OtherDevice)
    );
    assert_eq!(
        take(APP, &code, Some(&start), 7, at(1)),
        Err(Refused::Unknown),
        "used up"
    );
    assert_eq!(
        take(APP, &give(), Some(&start), 7, at(60)),
        Err(Refused::Unknown),
        "too old"
    );
    let code = give();
    let _ended = sessions.end(&family(&session)).durable().await;
    assert_eq!(
        take(APP, &code, Some(&start), 7, at(1)),
        Err(Refused::Ended)
    );
}

#[test]
fn ids_are_read_as_they_are_written() {
    let id = SessionId::new(&SystemEntropy::default());
    assert_eq!(SessionId::parse(&id.to_string()), Some(id));
    for text in [
        "",
        "+0000000000000000000000000000001",
        "xyz",
        &"0".repeat(33),
    ] {
        assert_eq!(SessionId::parse(text), None, "{text}");
    }
}
