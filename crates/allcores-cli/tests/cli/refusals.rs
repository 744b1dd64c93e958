//! What is refused, and what is explained.

use super::*;

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
