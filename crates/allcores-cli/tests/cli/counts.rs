//! What is counted, and how it is told.

use super::*;

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
