//! The built program, on folders made up for it.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

const WAYS: &[&str] = &["serial", "threads", "processes"];

fn allcores(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_allcores"));
    command.args(args).stdin(Stdio::null());
    command
}

/// `allcores demo FOLDER` with so many passes that it is quick, and these options.
fn demo(folder: &Path, options: &[&str]) -> Output {
    let mut command = allcores(&["demo"]);
    command.arg(folder).args(["--passes", "3"]).args(options);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A folder of these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// Counts words by the plain definition.
fn counted(texts: &[&str]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for text in texts {
        for word in text
            .split(|c: char| !c.is_alphabetic())
            .filter(|w| !w.is_empty())
        {
            let word = word.chars().flat_map(char::to_lowercase).collect();
            *counts.entry(word).or_default() += 1;
        }
    }
    counts
}

/// Text of many words, some of them not ASCII, in no particular order.
fn made_up(words: usize, seed: u64) -> String {
    let stems = ["Wort", "word", "mot", "слово", "żółw", "Ödland", "x", "THE"];
    let mut state = seed;
    let mut text = String::new();
    for number in 0..words {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let stem = stems[(state >> 33) as usize % stems.len()];
        // Letters that spell a number: many different words, each of them more than once.
        let suffix: String = ((state >> 40) % 997)
            .to_string()
            .bytes()
            .map(|b| char::from(b + 49))
            .collect();
        text.push_str(stem);
        text.push_str(&suffix);
        text.push_str([" ", "\n", ", ", " — ", "1"][number % 5]);
    }
    text
}

#[test]
fn totals_are_those_of_an_independent_count() {
    let texts: Vec<String> = (0..9).map(|n| made_up(200 * n, n as u64)).collect();
    let long = made_up(400_000, 77);
    let names: Vec<String> = (0..9).map(|n| format!("deep/{}/file{n}", n % 3)).collect();
    let mut files: Vec<(&str, &[u8])> = vec![("long.txt", long.as_bytes())];
    files.extend(
        names
            .iter()
            .zip(&texts)
            .map(|(name, text)| (name.as_str(), text.as_bytes())),
    );
    // More than one piece of work in one file.
    assert!(long.len() > 3 << 20);
    let folder = folder(&files);

    let mut all: Vec<&str> = texts.iter().map(String::as_str).collect();
    all.push(&long);
    let expected = counted(&all);

    let output = demo(folder.path(), &["--json", "--top", "1000000"]);
    let result = json(&output);
    let found: BTreeMap<String, u64> = result["words"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let word = entry["word"].as_str().unwrap().to_owned();
            (word, entry["count"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(found, expected);
    for way in result["ways"].as_array().unwrap() {
        let totals = &way["totals"];
        assert_eq!(totals["files"], 10, "{way}");
        assert_eq!(
            totals["bytes"],
            all.iter().map(|t| t.len()).sum::<usize>(),
            "{way}"
        );
        assert_eq!(totals["words"], expected.values().sum::<u64>(), "{way}");
        assert_eq!(totals["distinct"], expected.len(), "{way}");
    }
}

#[test]
fn json_has_every_field() {
    let folder = folder(&[("a", b"one two two three three three")]);
    let result = json(&demo(folder.path(), &["--json", "--top", "2"]));
    assert_eq!(result["folder"], folder.path().to_str().unwrap());
    assert_eq!(result["passes"], 3);
    assert_eq!(result["identical"], true);
    assert_eq!(
        result["words"],
        serde_json::json!([{"word": "three", "count": 3}, {"word": "two", "count": 2}])
    );
    assert_eq!(
        result["skipped"],
        serde_json::json!({"binary": 0, "unreadable": 0, "special": 0, "limit_reached": false})
    );
    let ways = result["ways"].as_array().unwrap();
    let names: Vec<&str> = ways
        .iter()
        .map(|way| way["way"].as_str().unwrap())
        .collect();
    assert_eq!(names, WAYS);
    for way in ways {
        assert!(way["workers"].as_u64().unwrap() >= 1, "{way}");
        assert!(way["seconds"].as_f64().unwrap() > 0.0, "{way}");
        assert!(way["cpu_seconds"].as_f64().unwrap() >= 0.0, "{way}");
        assert!(way["speed_up"].as_f64().unwrap() > 0.0, "{way}");
        assert_eq!(
            way["totals"],
            serde_json::json!({"files": 1, "bytes": 29, "words": 6, "distinct": 3})
        );
    }
    assert_eq!(ways[0]["speed_up"], 1.0);
}

#[test]
fn tables_name_the_ways_and_the_words() {
    let folder = folder(&[("a", "Über über uns".as_bytes()), ("b", &[0, 1, 2])]);
    let output = demo(folder.path(), &[]);
    assert!(output.status.success(), "{output:?}");
    let printed = text(&output.stdout);
    for expected in ["2 different", "1 binary", "serial", "1.00x", "über      2"] {
        assert!(
            printed.contains(expected),
            "{expected:?} is not in:\n{printed}"
        );
    }
}

#[test]
fn what_is_not_text_is_skipped_and_never_opened() {
    let folder = folder(&[
        ("text", b"word"),
        ("empty", b""),
        ("nul", b"text with a \0 in it"),
        ("late-nul", &[&[b'a'; 20_000][..], b"\0"].concat()),
        ("latin1", b"caf\xe9"),
        ("cut-off", "café".as_bytes().split_last().unwrap().1),
    ]);
    let inside = |name: &str| folder.path().join(name);
    symlink(inside("nowhere"), inside("dangling")).unwrap();
    symlink(folder.path(), inside("loop")).unwrap();
    symlink(inside("text"), inside("second-name")).unwrap();
    // Opening it would wait for a writer for ever.
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        inside("fifo"),
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .unwrap();

    let result = json(&demo(folder.path(), &["--json"]));
    assert_eq!(
        result["skipped"],
        serde_json::json!({"binary": 4, "unreadable": 0, "special": 4, "limit_reached": false})
    );
    assert_eq!(result["ways"][0]["totals"]["files"], 2);
    assert_eq!(
        result["words"],
        serde_json::json!([{"word": "word", "count": 1}])
    );
}

#[test]
fn unreadable_files_are_counted_and_the_first_are_named() {
    let folder = folder(&[
        ("text", b"word"),
        ("no1", b"x"),
        ("no2", b"x"),
        ("no3", b"x"),
        ("no4", b"x"),
    ]);
    for name in ["no1", "no2", "no3", "no4"] {
        let path = folder.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
        if fs::read(&path).is_ok() {
            eprintln!("skipped: this user may read everything");
            return;
        }
    }
    let output = demo(folder.path(), &["--json"]);
    assert_eq!(json(&output)["skipped"]["unreadable"], 4);
    let said = text(&output.stderr);
    for name in ["no1", "no2", "no3"] {
        assert!(said.contains(name), "{said}");
    }
    assert!(!said.contains("no4"), "{said}");
}

#[test]
fn a_name_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let folder = folder(&[]);
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    fs::write(folder.path().join(name), "word").unwrap();
    let result = json(&demo(folder.path(), &["--json"]));
    assert_eq!(
        result["words"],
        serde_json::json!([{"word": "word", "count": 1}])
    );
}

#[test]
fn no_more_text_is_read_than_was_asked_for() {
    let half = format!("{}\n", "half ".repeat(120_000));
    let folder = folder(&[
        ("a", half.as_bytes()),
        ("b", half.as_bytes()),
        ("c", half.as_bytes()),
    ]);
    let result = json(&demo(folder.path(), &["--json", "--max-mib", "1"]));
    assert_eq!(result["skipped"]["limit_reached"], true);
    let totals = &result["ways"][0]["totals"];
    let bytes = totals["bytes"].as_u64().unwrap();
    assert!(bytes <= 1 << 20 && bytes > (1 << 20) - 10, "{totals}");
    assert_eq!(totals["distinct"], 1, "no word is cut: {totals}");
}

#[track_caller]
fn refused(output: &Output, with: &str) {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    assert!(said.contains(with), "{with:?} is not in: {said}");
}

#[test]
fn folders_without_text_are_refused() {
    let empty = folder(&[]);
    refused(&demo(empty.path(), &[]), "there is no text below");
    let binary = folder(&[("a", &[0]), ("b", b"")]);
    refused(&demo(binary.path(), &["--json"]), "1 empty files, 1 binary");
    let missing = empty.path().join("missing");
    refused(&demo(&missing, &[]), missing.to_str().unwrap());
    let file = binary.path().join("a");
    refused(&demo(&file, &[]), "is not a folder");
}

#[test]
fn any_number_of_workers_comes_to_the_same_totals() {
    let texts: Vec<String> = (0..5).map(|n| made_up(300, n)).collect();
    let names = ["a", "b", "c", "d", "e"];
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .zip(&texts)
        .map(|(name, text)| (*name, text.as_bytes()))
        .collect();
    let folder = folder(&files);
    for number in ["1", "2", "3", "16"] {
        let options = ["--json", "--threads", number, "--processes", number];
        let result = json(&demo(folder.path(), &options));
        assert_eq!(result["identical"], true);
        for way in [1, 2] {
            assert_eq!(result["ways"][way]["workers"].to_string(), number);
        }
    }
}

#[test]
fn a_file_that_vanishes_ends_every_way_with_its_name() {
    for way in WAYS {
        let folder = folder(&[("stays", b"word"), ("vanishes", b"word")]);
        let (mut child, mut stderr) = endless(folder.path(), way);
        fs::remove_file(folder.path().join("vanishes")).unwrap();
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{way}: {said}");
        assert!(
            said.contains("vanishes changed while it was counted"),
            "{way}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{way}: {said}");
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let folder = folder(&[("a", b"word")]);
    for option in ["--passes", "--max-mib", "--threads", "--processes"] {
        refused(&demo(folder.path(), &[option, "0"]), option);
        refused(&demo(folder.path(), &[option, "many"]), option);
    }
    refused(&demo(folder.path(), &["--way", "magic"]), "serial");
}

#[test]
fn help_has_examples() {
    for args in [&["--help"][..], &["demo", "--help"]] {
        let output = allcores(args).output().unwrap();
        assert!(output.status.success());
        assert!(text(&output.stdout).contains("allcores demo"), "{output:?}");
    }
}

/// A reader that has seen enough is no failure.
#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = folder(&[("a", b"word")]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = allcores(&["demo", "--passes", "1"]);
    let output = command.arg(folder.path()).stdout(writer).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!text(&output.stderr).contains("panic"), "{output:?}");
}

/// Starts a demonstration that would take days, and waits until it counts in this way.
fn endless(folder: &Path, way: &str) -> (Child, BufReader<std::process::ChildStderr>) {
    let passes = u64::MAX.to_string();
    let mut command = allcores(&["demo", "--passes", &passes, "--way", way]);
    let mut child = command
        .arg(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, format!("allcores: counting: {way}\n"));
    (child, stderr)
}

#[test]
fn ctrl_c_ends_it_with_a_message_and_no_result() {
    let folder = folder(&[("a", b"word")]);
    for way in WAYS {
        // A terminal sends the signal to all processes, `kill` to one.
        for send in [kill_process, kill_process_group] {
            let (mut child, mut stderr) = endless(folder.path(), way);
            send(Pid::from_child(&child), Signal::INT).unwrap();
            // These end when the last process that has them is gone: so there are no orphans.
            let (mut said, mut printed) = (String::new(), String::new());
            stderr.read_to_string(&mut said).unwrap();
            let mut stdout = child.stdout.take().unwrap();
            stdout.read_to_string(&mut printed).unwrap();
            assert_eq!(
                said,
                "allcores: interrupted; the totals are not complete, so there are none\n"
            );
            assert_eq!(printed, "");
            let status = child.wait().unwrap();
            assert_eq!((status.code(), status.signal()), (Some(130), None), "{way}");
        }
    }
}

/// The children of a process, by the parent that each process names.
fn children_of(parent: u32) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let children = processes.filter_map(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let found: u32 = fields.split(' ').nth(1)?.parse().ok()?;
        let pid = process.file_name().to_str()?.parse().ok()?;
        (found == parent).then(|| Pid::from_raw(pid))?
    });
    children.collect()
}

#[test]
fn a_worker_that_is_killed_ends_it_with_an_error() {
    let folder = folder(&[("a", b"word")]);
    let (mut child, mut stderr) = endless(folder.path(), "processes");
    let worker = loop {
        if let Some(worker) = children_of(child.id()).pop() {
            break worker;
        }
        std::thread::yield_now();
    };
    kill_process(worker, Signal::KILL).unwrap();
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("allcores: a worker"), "{said}");
    assert!(
        said.contains("signal 9") || said.contains("started"),
        "{said}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

/// A folder with the package `allcores` for Python, and nothing of its own in it: the demonstration's program only needs the
/// names. The package itself has its tests in `python/tests`.
fn stand_in_for_the_package() -> TempDir {
    folder(&[
        ("allcores/__init__.py", b""),
        ("allcores/queue.py", b"from queue import *"),
        ("allcores/threading.py", b"from threading import *"),
        (
            "allcores/multiprocessing.py",
            b"from multiprocessing import *",
        ),
    ])
}

/// `python3`, if there is one.
fn has_python() -> bool {
    let python = Command::new("python3").args(["-c", ""]).status();
    python.is_ok_and(|status| status.success())
}

#[test]
fn python_comes_to_the_same_totals() {
    if !has_python() {
        eprintln!("not run: there is no python3");
        return;
    }
    let package = stand_in_for_the_package();
    let texts: Vec<String> = (0..4).map(|n| made_up(300 * n, n as u64)).collect();
    let marks = "ΟΔΥΣΣΕΥΣ İstanbul ǅ ⅷ ⅧⅧ a\u{345}b ſ straße नमस्ते 漢字 x_1y";
    let files: Vec<(String, &[u8])> = texts
        .iter()
        .map(String::as_str)
        .chain([marks])
        .enumerate()
        .map(|(number, text)| (format!("file{number}"), text.as_bytes()))
        .collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, text)| (n.as_str(), *text)).collect();
    let folder = folder(&files);

    let mut command = allcores(&["demo", "--passes", "3", "--json", "--python"]);
    command.arg(folder.path()).env("PYTHONPATH", package.path());
    let result = json(&command.output().unwrap());
    assert_eq!(result["identical"], true);
    let ways = result["ways"].as_array().unwrap();
    let names: Vec<&str> = ways
        .iter()
        .map(|way| way["way"].as_str().unwrap())
        .collect();
    let python = [
        "python-stock-threads",
        "python-allcores-threads",
        "python-stock-processes",
        "python-allcores-processes",
    ];
    assert_eq!(names, [WAYS, &python].concat());
    for way in ways {
        assert_eq!(way["totals"], ways[0]["totals"], "{way}");
        assert!(way["seconds"].as_f64().unwrap() > 0.0, "{way}");
    }

    let mut command = allcores(&["demo", "--passes", "3", "--python", "--way", "serial"]);
    command
        .args(["--way", "python-allcores-threads"])
        .arg(folder.path())
        .env("PYTHONPATH", package.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = text(&output.stdout);
    for expected in ["python, allcores threads", "multiplied by 3", "same totals"] {
        assert!(printed.contains(expected), "{printed}");
    }
    assert!(!printed.contains("stock"), "{printed}");
}

#[test]
fn without_the_package_it_is_said_before_anything_is_counted() {
    let folder = folder(&[("a", b"word")]);
    let nowhere = folder.path().join("no-python");
    let mut arguments = vec![format!("--python={}", nowhere.display())];
    if has_python() {
        // Without the variables and the paths of this machine.
        let bare = folder.path().join("bare-python");
        fs::write(&bare, "#!/bin/sh\nexec python3 -I -S \"$@\"\n").unwrap();
        fs::set_permissions(&bare, fs::Permissions::from_mode(0o755)).unwrap();
        arguments.push(format!("--python={}", bare.display()));
    }
    for argument in arguments {
        let output = demo(folder.path(), &[&argument]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(text(&output.stdout), "");
        let said = text(&output.stderr);
        for expected in ["cannot import the package allcores", "pip install ./python"] {
            assert!(said.contains(expected), "{said}");
        }
        assert!(!said.contains("counting"), "{said}");
    }
}
