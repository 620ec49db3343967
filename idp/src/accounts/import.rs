//! Accounts from a CSV file: all of it or nothing, with every problem at its line.

use std::collections::HashMap;

use csv::{ByteRecord, ReaderBuilder};

use super::account::NewAccount;
use super::admin::{created, is_free, stored};
use super::error::{AccountError, ImportError, ImportProblem};
use super::inner::Inner;
use super::{Imported, Link};
use crate::event::Actor;

/// Largest file, in bytes.
const MOST_BYTES: usize = 8 << 20;
/// Most accounts at a time.
const MOST_LINES: usize = 50_000;
/// More problems than anybody reads.
const MOST_PROBLEMS: usize = 1_000;

impl Inner {
    pub(super) fn import(
        &self,
        file: &[u8],
        by: Actor,
        now: i64,
    ) -> Result<Vec<Imported>, ImportError> {
        let (lines, mut problems) = read(file).map_err(ImportError::Problems)?;
        let mut seen: HashMap<Box<str>, u64> = HashMap::new();
        let mut made = Vec::with_capacity(lines.len());
        for (line, new) in &lines {
            match self.draft(new, now) {
                Ok(record) => {
                    if let Some(before) = seen.insert(record.id.clone(), *line) {
                        let problem = format!("`{}` is in line {before} already", record.id);
                        problems.push(ImportProblem {
                            line: *line,
                            problem,
                        });
                    }
                    made.push((*line, record));
                }
                Err(error) => problems.push(problem(*line, &error)),
            }
        }
        let mut links: Vec<Link> = Vec::with_capacity(made.len());
        let mut records = Vec::with_capacity(made.len());
        let mut at = Vec::with_capacity(made.len());
        for (line, mut record) in made {
            let link = self.mint(now);
            record.link = Some(stored(&link));
            links.push(link);
            at.push((line, record.id.clone()));
            records.push(record);
        }
        let views: Vec<_> = records.iter().map(|record| record.view()).collect();
        let events = records
            .iter()
            .map(|record| created(record, by, now))
            .collect();
        self.add_all(records, events, |people| {
            for (line, id) in &at {
                if let Err(error) = is_free(people, id) {
                    problems.push(problem(*line, &error));
                }
            }
            problems.sort_by_key(|problem| problem.line);
            problems.truncate(MOST_PROBLEMS);
            if problems.is_empty() {
                Ok(())
            } else {
                Err(ImportError::Problems(problems))
            }
        })?;
        let imported = views
            .into_iter()
            .zip(links)
            .map(|(account, link)| Imported { account, link })
            .collect();
        Ok(imported)
    }
}

impl From<crate::store::StoreError> for ImportError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Account(error.into())
    }
}

/// Which column is which.
#[derive(Default)]
struct Columns {
    user: Option<usize>,
    name: Option<usize>,
    email: Option<usize>,
    groups: Option<usize>,
    count: usize,
}

/// An account, and the line it is in.
type Line = (u64, NewAccount);

/// The accounts that can be read, and what is wrong with other lines; an error where nothing can be made of the file.
fn read(file: &[u8]) -> Result<(Vec<Line>, Vec<ImportProblem>), Vec<ImportProblem>> {
    let whole = |problem: &str| {
        vec![ImportProblem {
            line: 1,
            problem: problem.to_owned(),
        }]
    };
    if file.len() > MOST_BYTES {
        return Err(whole("the file is larger than 8 MiB"));
    }
    // Spreadsheets put it before UTF-8.
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(file);
    let mut record = ByteRecord::new();
    let mut columns = None;
    let mut lines = Vec::new();
    let mut problems = Vec::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => {
                problems.extend(whole("this is not a CSV file"));
                break;
            }
        }
        let line = record.position().map_or(1, csv::Position::line);
        let cells = match text(&record) {
            Ok(cells) => cells,
            Err(words) => {
                problems.push(ImportProblem {
                    line,
                    problem: words.to_owned(),
                });
                continue;
            }
        };
        let Some(columns) = &columns else {
            match header(&cells) {
                Ok(found) => columns = Some(found),
                Err(words) => {
                    return Err(vec![ImportProblem {
                        line,
                        problem: words,
                    }]);
                }
            }
            continue;
        };
        // Spreadsheets write such lines below the last one.
        if cells.iter().all(String::is_empty) {
            continue;
        }
        if lines.len() >= MOST_LINES {
            problems.push(ImportProblem {
                line,
                problem: "more than 50000 accounts; use several files".to_owned(),
            });
            break;
        }
        match account(&cells, columns) {
            Ok(new) => lines.push((line, new)),
            Err(words) => problems.push(ImportProblem {
                line,
                problem: words,
            }),
        }
        if problems.len() >= MOST_PROBLEMS {
            break;
        }
    }
    if columns.is_none() && problems.is_empty() {
        return Err(whole(
            "the file is empty; the first line must be `user,name,email,groups`",
        ));
    }
    Ok((lines, problems))
}

fn text(record: &ByteRecord) -> Result<Vec<String>, &'static str> {
    record
        .iter()
        .map(|cell| {
            std::str::from_utf8(cell)
                .map(|cell| cell.trim().to_owned())
                .map_err(|_| "not UTF-8; save the file as `CSV UTF-8`")
        })
        .collect()
}

fn header(cells: &[String]) -> Result<Columns, String> {
    let mut columns = Columns {
        count: cells.len(),
        ..Columns::default()
    };
    for (index, cell) in cells.iter().enumerate() {
        let place = match cell.to_ascii_lowercase().as_str() {
            "user" => &mut columns.user,
            "name" => &mut columns.name,
            "email" => &mut columns.email,
            "groups" => &mut columns.groups,
            _ => {
                return Err(
                    "the first line must be `user,name,email,groups`, in any order".to_owned(),
                );
            }
        };
        if place.replace(index).is_some() {
            return Err(format!("the column `{cell}` is there twice"));
        }
    }
    if columns.user.is_none() {
        return Err("the column `user` is missing".to_owned());
    }
    Ok(columns)
}

fn account(cells: &[String], columns: &Columns) -> Result<NewAccount, String> {
    if cells.len() != columns.count {
        return Err(format!(
            "{} cells, but the first line has {}",
            cells.len(),
            columns.count
        ));
    }
    // Lists of accounts are opened in spreadsheets, which would run these.
    if let Some(cell) = cells
        .iter()
        .find(|cell| cell.starts_with(['=', '+', '-', '@', '\t', '\r']))
    {
        let first: String = cell.chars().take(1).collect();
        return Err(format!("a cell begins with `{first}`, as formulas do"));
    }
    let cell = |column: Option<usize>| {
        column
            .and_then(|column| cells.get(column))
            .cloned()
            .unwrap_or_default()
    };
    let email = cell(columns.email);
    Ok(NewAccount {
        user: cell(columns.user),
        display_name: cell(columns.name),
        email: (!email.is_empty()).then_some(email),
        groups: cell(columns.groups)
            .split(';')
            .map(|group| group.trim().to_owned())
            .filter(|group| !group.is_empty())
            .collect(),
        external_id: None,
    })
}

fn problem(line: u64, error: &AccountError) -> ImportProblem {
    ImportProblem {
        line,
        problem: error.to_string(),
    }
}
