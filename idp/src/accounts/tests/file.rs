//! The files: what opens, what does not, and what is in them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use redb::TableDefinition;

use super::*;

const BY: Actor = Actor::Administrator;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn refusal(directory: &Path) -> OpenError {
    open_at(directory).err().expect("it must not open")
}

/// Changes the file behind its back.
fn meddle(directory: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = redb::Database::open(directory.join("accounts.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let bed = Bed::new();
    bed.add("ada").await;
    let link = bed.link("ada").await;
    let before = bed.accounts.list();
    let bed = bed.reopen();
    assert_eq!(bed.accounts.list(), before);
    assert!(bed.accounts.open_link(&link.token, at(NOW)).is_ok());
}

#[tokio::test]
async fn both_files_are_for_the_owner_alone() {
    let bed = Bed::new();
    for name in ["accounts.redb", "accounts.key"] {
        let path = bed.directory.path().join(name);
        assert_eq!(mode(&path), 0o600, "{name}");
    }
    let left = fs::read_dir(bed.directory.path()).unwrap().count();
    assert_eq!(left, 2, "no drafts are left behind");
    let Bed {
        directory,
        accounts,
        ..
    } = bed;
    drop(accounts);
    for name in ["accounts.redb", "accounts.key"] {
        let path = directory.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            refusal(directory.path()),
            OpenError::TooOpen { mode: 0o640, .. }
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(open_at(directory.path()).is_ok());
}

#[test]
fn a_second_opener_is_told_that_the_file_is_in_use() {
    let bed = Bed::new();
    assert!(matches!(refusal(bed.directory.path()), OpenError::InUse(_)));
    let Bed {
        directory,
        accounts,
        ..
    } = bed;
    drop(accounts);
    assert!(open_at(directory.path()).is_ok());
}

/// The lock is the operating system's: another process is this test's binary, started again.
#[test]
fn another_process_is_told_that_the_file_is_in_use() {
    const VARIABLE: &str = "MASUGATA_TEST_ACCOUNTS";
    if let Some(directory) = std::env::var_os(VARIABLE) {
        let refused = matches!(refusal(Path::new(&directory)), OpenError::InUse(_));
        std::process::exit(if refused { 42 } else { 1 });
    }
    let bed = Bed::new();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "another_process_is_told_that_the_file_is_in_use",
            "--nocapture",
        ])
        .env(VARIABLE, bed.directory.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(42));
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_never_empty() {
    let bed = Bed::new();
    bed.add("ada").await;
    let Bed {
        directory,
        accounts,
        ..
    } = bed;
    drop(accounts);
    let path = directory.path().join("accounts.redb");
    let good = fs::read(&path).unwrap();
    let mut damages: Vec<Vec<u8>> = vec![Vec::new(), vec![0; good.len()], b"no database".to_vec()];
    damages.push(good[..good.len() / 2].to_vec());
    // The pages with the account in them.
    let at: Vec<usize> = (0..good.len() - 8)
        .filter(|at| good[*at..].starts_with(b"user_han"))
        .collect();
    assert!(!at.is_empty());
    let mut flipped = good.clone();
    for at in at {
        flipped[at] ^= 1;
    }
    damages.push(flipped);
    for damage in damages {
        fs::write(&path, &damage).unwrap();
        let refusal = std::panic::catch_unwind(|| refusal(directory.path()));
        let refusal = refusal.expect("an error, not a panic");
        assert!(
            matches!(refusal, OpenError::Damaged { .. }),
            "{} bytes: {refusal}",
            damage.len()
        );
        assert!(refusal.to_string().contains("accounts.redb"));
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(open_at(directory.path()).unwrap().list().len(), 1);
}

#[tokio::test]
async fn an_account_that_cannot_be_read_is_an_error_and_is_not_quoted() {
    let bed = Bed::new();
    bed.add("ada").await;
    let Bed {
        directory,
        accounts,
        ..
    } = bed;
    drop(accounts);
    const ACCOUNTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("accounts");
    for text in [&b"{\"secret\":\"planted\"}"[..], b"", b"{}"] {
        meddle(directory.path(), |transaction| {
            let mut table = transaction.open_table(ACCOUNTS).unwrap();
            table.insert("ada", text).unwrap();
        });
        let refusal = refusal(directory.path()).to_string();
        assert!(
            refusal.contains("`ada`") && !refusal.contains("planted"),
            "{refusal}"
        );
    }
}

#[test]
fn a_newer_file_is_refused() {
    let Bed {
        directory,
        accounts,
        ..
    } = Bed::new();
    drop(accounts);
    meddle(directory.path(), |transaction| {
        let table: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
        let mut table = transaction.open_table(table).unwrap();
        table
            .insert("format", 2_u64.to_be_bytes().as_slice())
            .unwrap();
    });
    let refusal = refusal(directory.path());
    assert!(
        matches!(
            refusal,
            OpenError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{refusal}"
    );
}

#[test]
fn one_of_the_files_without_the_other_is_refused() {
    for (missing, kept) in [
        ("accounts.redb", "accounts.key"),
        ("accounts.key", "accounts.redb"),
    ] {
        let Bed {
            directory,
            accounts,
            ..
        } = Bed::new();
        drop(accounts);
        fs::remove_file(directory.path().join(missing)).unwrap();
        let refusal = refusal(directory.path());
        assert!(
            matches!(refusal, OpenError::HalfMissing { .. }),
            "{refusal}"
        );
        assert!(directory.path().join(kept).exists());
        assert!(
            !directory.path().join(missing).exists(),
            "nothing is made in its place"
        );
    }
}

#[test]
fn the_key_of_other_accounts_is_refused() {
    let [one, other] = [Bed::new(), Bed::new()].map(|bed| {
        drop(bed.accounts);
        bed.directory
    });
    // Test chance repeats itself; the other key is made different.
    let mut key = fs::read(other.path().join("accounts.key")).unwrap();
    key[0] ^= 1;
    fs::write(one.path().join("accounts.key"), &key).unwrap();
    assert!(matches!(refusal(one.path()), OpenError::WrongKey { .. }));
    fs::write(one.path().join("accounts.key"), b"short").unwrap();
    assert!(matches!(refusal(one.path()), OpenError::Damaged { .. }));
}

#[test]
fn a_crash_while_the_files_are_made_is_made_good() {
    // After the accounts and before the key.
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = crate::store::Store::open(directory.path(), true).unwrap();
    drop(store);
    drop(open_at(directory.path()).unwrap());
    // After the key and before the note of it.
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = crate::store::Store::open(directory.path(), true).unwrap();
    drop(store);
    let key = directory.path().join("accounts.key");
    fs::write(&key, [7; 32]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    drop(open_at(directory.path()).unwrap());
    assert_eq!(fs::read(&key).unwrap(), [7; 32]);
    // While the accounts were made: the draft is nobody's.
    let directory = tempfile::tempdir().unwrap();
    let draft = format!("accounts.redb.{}.new", std::process::id());
    fs::write(directory.path().join(draft), b"half").unwrap();
    drop(open_at(directory.path()).unwrap());
}

#[tokio::test]
async fn a_crash_between_two_changes_loses_neither_and_halves_none() {
    let bed = Bed::new();
    bed.add("ada").await;
    let path = bed.directory.path().join("accounts.redb");
    let after_one = fs::read(&path).unwrap();
    bed.accounts
        .import_csv(b"user\nbob\ncy\n".to_vec(), BY, NOW)
        .await
        .unwrap();
    let after_all = fs::read(&path).unwrap();
    let key = fs::read(bed.directory.path().join("accounts.key")).unwrap();
    // The files as they were on disk at those moments, without an orderly end.
    for (image, count) in [(after_one, 1), (after_all, 3)] {
        let directory = tempfile::tempdir().unwrap();
        for (name, bytes) in [("accounts.redb", &image), ("accounts.key", &key)] {
            let path = directory.path().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert_eq!(open_at(directory.path()).unwrap().list().len(), count);
    }
}

#[tokio::test]
async fn an_event_is_told_only_when_the_change_is_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("accounts.redb");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events: Events = {
        let seen = Arc::clone(&seen);
        Arc::new(move |_| seen.lock().unwrap().push(fs::read(&path).unwrap()))
    };
    let accounts = open_with(directory.path(), settings(), CHEAP, events).unwrap();
    let new = NewAccount {
        user: "ada".to_owned(),
        ..NewAccount::default()
    };
    accounts.add(new, BY, NOW).await.unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen[0].windows(10).any(|bytes| bytes == b"\"id\":\"ada\""));
}

#[test]
fn origins_are_exact() {
    for origin in [
        "http://login.example.com",
        "https://login.example.com/",
        "https://login.example.com/id",
        "https://Login.example.com",
        "https://login.example.com:443",
        "https://192.0.2.1",
        "https://user@login.example.com",
        "login.example.com",
        "",
    ] {
        let mut settings = settings();
        settings.origin = origin.to_owned();
        let directory = tempfile::tempdir().unwrap();
        let result = open_with(directory.path(), settings, CHEAP, Arc::new(|_| {}));
        assert!(
            matches!(result.err(), Some(OpenError::Origin(_))),
            "{origin}"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_list_of_breached_passwords_that_is_missing_stops_a_reload_and_changes_nothing() {
    let bed = Bed::new();
    let mut new = settings();
    new.passwords = false;
    new.breached = Some(bed.directory.path().join("missing"));
    assert!(matches!(
        bed.accounts.reconfigure(new.clone()),
        Err(OpenError::Io { .. })
    ));
    assert!(bed.accounts.passwords());
    new.breached = None;
    bed.accounts.reconfigure(new).unwrap();
    assert!(!bed.accounts.passwords());
}
