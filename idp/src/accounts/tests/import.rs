//! Accounts from files, good and bad.

use proptest::prelude::*;

use super::*;

const BY: Actor = Actor::Administrator;

async fn import(bed: &Bed, file: &[u8]) -> Result<Vec<Imported>, ImportError> {
    bed.accounts.import_csv(file.to_vec(), BY, NOW).await
}

async fn problems(bed: &Bed, file: &[u8]) -> Vec<(u64, String)> {
    let before = bed.accounts.list();
    let Err(ImportError::Problems(problems)) = import(bed, file).await else {
        panic!("there are problems in it");
    };
    assert_eq!(bed.accounts.list(), before, "nothing of it was taken");
    problems
        .into_iter()
        .map(|problem| (problem.line, problem.problem))
        .collect()
}

#[tokio::test]
async fn a_good_file_makes_accounts_with_links() {
    let bed = Bed::new();
    let file = "\u{feff}user,name,email,groups\r\nada,Ada Lovelace,ada@example.com,staff; finance\r\n\r\nbob,\"Bob, \
                \"\"B\"\"\",,\r\n,,,\r\n";
    let imported = import(&bed, file.as_bytes()).await.unwrap();
    let names: Vec<&str> = imported
        .iter()
        .map(|one| &*one.account.display_name)
        .collect();
    assert_eq!(names, ["Ada Lovelace", "Bob, \"B\""]);
    assert_eq!(
        imported[0].account.groups,
        ["finance".into(), "staff".into()]
    );
    for one in &imported {
        let welcome = bed.accounts.open_link(&one.link.token, at(NOW)).unwrap();
        assert_eq!(welcome.account, one.account);
    }
    assert_eq!(bed.kinds(), [EventKind::AccountCreated; 2]);
    assert_eq!(bed.reopen().accounts.list().len(), 2);
}

#[tokio::test]
async fn columns_may_come_in_any_order_and_be_left_out() {
    let bed = Bed::new();
    let imported = import(&bed, b"Groups,USER\nstaff,ada\n").await.unwrap();
    assert_eq!(&*imported[0].account.id, "ada");
    assert_eq!(imported[0].account.groups, ["staff".into()]);
}

#[tokio::test]
async fn every_problem_is_told_with_its_line_and_nothing_is_taken() {
    let bed = Bed::new();
    bed.add("old").await;
    bed.add("gone").await;
    bed.accounts.remove("gone", BY, NOW).await.unwrap();
    let file = b"user,name,email,groups\nada,Ada,ada@example.com,staff\nADA,Ada,,\nold,,,\ngone,,,\n/,,,\nbob,Bob,nowhere,\
                 \ncy,Cy\n=cmd|x,,,\ndan,=1+1,,\neve,Eve,,@all\nfay,F\xe9e,,\nguy,\"G\tuy\",,\n";
    let problems = problems(&bed, file).await;
    let lines: Vec<u64> = problems.iter().map(|(line, _)| *line).collect();
    assert_eq!(
        lines,
        [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
        "{problems:#?}"
    );
    assert!(problems[0].1.contains("line 2 already"));
    assert!(problems[8].1.contains('@'));
    assert!(problems[9].1.contains("UTF-8"));
}

#[tokio::test]
async fn a_file_that_is_none_is_refused() {
    let bed = Bed::new();
    for file in [
        &b""[..],
        b"\n\n",
        b"\xef\xbb\xbf",
        b"ada,Ada\n",
        b"user;name;email;groups\nada;;;\n",
        b"name,email\nAda,\n",
        b"user,user\nada,bob\n",
        b"\xff\xfe\x00\x00",
        b"user,password\nada,secret\n",
    ] {
        assert_eq!(problems(&bed, file).await.len(), 1, "{file:?}");
    }
    let huge = vec![b'a'; 9 << 20];
    assert_eq!(problems(&bed, &huge).await.len(), 1);
}

#[tokio::test]
async fn a_quote_that_never_ends_is_one_cell_and_no_accounts() {
    let bed = Bed::new();
    let problems = problems(&bed, b"user,name\nada,\"Ada\nbob,Bob\ncy,Cy\n").await;
    assert_eq!(problems.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn odd_files_do_not_panic_and_take_all_or_nothing(
        lines in proptest::collection::vec("[a-z=@\",;\\n\u{0}é-]{0,12}", 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bed = Bed::new();
            let file = format!("user,name\n{}", lines.join("\n"));
            match import(&bed, file.as_bytes()).await {
                Ok(imported) => assert_eq!(imported.len(), bed.accounts.list().len()),
                Err(ImportError::Problems(problems)) => {
                    assert!(!problems.is_empty());
                    assert_eq!(bed.accounts.list(), []);
                }
                Err(ImportError::Account(error)) => panic!("{error}"),
            }
        });
    }
}
