//! Children: started with enough file descriptors, read through `/proc`, ended by their own number and nobody else's.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::{Doing as _, Failure};

/// Kernel ticks per second in `/proc/<pid>/stat`; fixed in the kernel's interface to user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// A line for the person who watches.
pub(crate) fn note(text: &str) {
    // Nobody to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A command that starts with as many file descriptors as this process may have at most.
pub(crate) fn command(program: &OsStr) -> Command {
    let mut command = Command::new("/bin/sh");
    // `exec` keeps the process id: the child we know is the program itself.
    command
        .arg("-c")
        .arg("ulimit -S -n \"$(ulimit -H -n)\"; exec \"$0\" \"$@\"")
        .arg(program);
    command.stdin(Stdio::null());
    command
}

/// This program once more, as one of its parts.
pub(crate) fn part(name: &str) -> Result<Command, Failure> {
    let mut command = command(std::env::current_exe()?.as_os_str());
    command
        .arg(name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    Ok(command)
}

/// A running child and what it spawned. Ends with the value.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts `command`, its output going to files `<name>.out` and `<name>.err` in `directory`.
    pub(crate) fn start(
        mut command: Command,
        name: &str,
        directory: &Path,
    ) -> Result<Self, Failure> {
        let file = |ending: &str| File::create(directory.join(format!("{name}.{ending}")));
        command.stdout(file("out")?).stderr(file("err")?);
        Ok(Self {
            child: command.spawn().doing(name)?,
        })
    }

    /// Processor time of the whole tree so far.
    pub(crate) fn processor(&self) -> Processor {
        tree(self.child.id())
            .into_iter()
            .filter_map(processor)
            .fold(Processor::default(), |sum, each| Processor {
                user: sum.user + each.user,
                system: sum.system + each.system,
            })
    }

    /// Memory of the whole tree in KiB: proportional share (each shared page counted once), and resident.
    pub(crate) fn memory_kib(&self) -> Memory {
        let mut sum = Memory::default();
        for process in tree(self.child.id()) {
            let Ok(text) = fs::read_to_string(format!("/proc/{process}/smaps_rollup")) else {
                continue;
            };
            sum.proportional += kib(&text, "Pss:");
            sum.resident += kib(&text, "Rss:");
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            sum.peak += kib(&status, "VmHWM:");
        }
        sum
    }

    /// Whether it ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

/// Processor time in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Processor {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Processor {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }

    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }
}

/// Memory in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) proportional: u64,
    pub(crate) resident: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Collected first: once the parent is gone, its children are nobody's.
        let members = tree(self.child.id());
        signal("TERM", self.child.id());
        let patience = Instant::now();
        while !self.ended() && patience.elapsed() < Duration::from_secs(5) {
            sleep(Duration::from_millis(20));
        }
        if !self.ended() {
            for process in members {
                signal("KILL", process);
            }
            let _ = self.child.wait();
        }
    }
}

fn signal(name: &str, process: u32) {
    // It may have ended in the meantime, which is what was wanted.
    let _ = Command::new("kill")
        .args(["-s", name, &process.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// A part of this program that is talked to in lines.
pub(crate) struct Conversation {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Conversation {
    pub(crate) fn start(mut command: Command) -> Result<Self, Failure> {
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("a part was started without pipes"));
        };
        Ok(Self {
            child,
            input: Some(input),
            output: BufReader::new(output),
        })
    }

    pub(crate) fn say(&mut self, line: &str) -> Result<(), Failure> {
        let Some(input) = &mut self.input else {
            return Err(Failure::new("the conversation is over"));
        };
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    pub(crate) fn hear(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(Failure::new("the load generator ended early"));
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // The end of its input tells it to leave.
        self.input = None;
        let patience = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if patience.elapsed() > Duration::from_secs(5) {
                let _ = self.child.kill();
            }
            sleep(Duration::from_millis(5));
        }
    }
}

/// `root` and all that descend from it.
fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, stat(process)?.get(1)?.parse().ok()?)))
        .collect();
    let mut members = vec![root];
    let mut next = 0;
    while let Some(&parent) = members.get(next) {
        members.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(process, _)| process),
        );
        next += 1;
    }
    members
}

/// utime and stime: fields 14 and 15 of proc_pid_stat(5).
fn processor(process: u32) -> Option<Processor> {
    let fields = stat(process)?;
    let seconds =
        |index: usize| Some(f64::from(fields.get(index)?.parse::<u32>().ok()?) / TICKS_PER_SECOND);
    Some(Processor {
        user: seconds(11)?,
        system: seconds(12)?,
    })
}

/// The fields after the name, which is in parentheses and may contain anything; the first is the state.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn kib(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
