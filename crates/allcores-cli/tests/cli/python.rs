//! The same in Python.

use super::*;

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
